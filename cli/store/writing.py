"""The subcommands that change a store: publish, promote, rollback, yank and gc."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import out, plain, print_json, reported_errors
from .options import JsonOption, NameArgument, SigningKeyOption, StoreOption

if TYPE_CHECKING:
    from ...artifacts.store.store import Store, StoredTag
    from ...artifacts.store.tags import Sign

VersionArgument = Annotated[str, typer.Argument(help="Version, such as 1.2.0.", metavar="VERSION")]
TagArgument = Annotated[str, typer.Argument(help="Tag, such as stable.", metavar="TAG")]


def publish_command(
    folder: Annotated[Path, typer.Argument(help="Folder of the artifact.", metavar="DIR")],
    tag: Annotated[list[str] | None, typer.Option(help="Tag to move to the version; repeatable.")] = None,
    key: SigningKeyOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish an artifact under the name and version of its manifest.

    A version is written once: publishing the same artifact again changes nothing, or completes an interrupted upload;
    another artifact with this version is refused with the code `exists`.
    """
    with reported_errors(as_json=as_json):
        published = open_store(store).publish(folder, tags=tag or (), sign=_signer(key))
        if as_json:
            print_json({"ok": True, **asdict(published)})
            return
        what = "published" if published.is_new else "already published"
        out.print(f"[bold green]{what}[/] {published.name} {published.version}  {published.identity}", soft_wrap=True)


def promote_command(
    name: NameArgument,
    version: VersionArgument,
    tag: TagArgument,
    if_current: Annotated[
        str | None, typer.Option(help="Version that the tag has to name now.", metavar="VERSION")
    ] = None,
    key: SigningKeyOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move a tag to a version.

    A tag that names the version already is changed only if the key has not signed it.
    """
    with reported_errors(as_json=as_json):
        _print_tag(
            name, open_store(store).promote(name, version, tag, if_current=if_current, sign=_signer(key)), as_json
        )


def rollback_command(
    name: NameArgument,
    tag: TagArgument,
    key: SigningKeyOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move a tag to the version that it named before."""
    with reported_errors(as_json=as_json):
        _print_tag(name, open_store(store).rollback(name, tag, sign=_signer(key)), as_json)


def yank_command(
    name: NameArgument, version: VersionArgument, store: StoreOption = None, as_json: JsonOption = False
) -> None:
    """Withdraw a version: it does not resolve any more, and its number is not used again."""
    with reported_errors(as_json=as_json):
        open_store(store).yank(name, version)
        if as_json:
            print_json({"ok": True, "name": name, "version": version})
        else:
            out.print("[bold green]yanked[/]", plain(f"{name} {version}"))


def gc_command(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be deleted.")] = False,
    grace_hours: Annotated[
        float, typer.Option(help="Keep what is newer than this, in hours.", min=0.0, metavar="HOURS")
    ] = 168.0,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete the artifacts that no version and no tag names, and what interrupted uploads left."""
    with reported_errors(as_json=as_json):
        collected = open_store(store).gc(grace=3600 * grace_hours, dry_run=dry_run)
        if as_json:
            print_json({"ok": True, "dry_run": dry_run, **asdict(collected)})
            return
        for each in (*collected.artifacts, *collected.leftovers):
            out.print("would delete" if dry_run else "deleted", plain(each))
        if not collected.artifacts and not collected.leftovers:
            out.print("nothing to delete")


def open_store(address: str | None, keys: Sequence[Path] = ()) -> Store:
    """Open the store of an option, and the keys it trusts; the libraries of stores are imported only now."""
    from ...artifacts.store.store import Store

    return Store(address, keys=keys)


def _signer(key: Path | None) -> Sign | None:
    from ...artifacts.trust.enforced import tag_signer
    from ...artifacts.trust.keys import PrivateKey

    return None if key is None else tag_signer(PrivateKey.read(key))


def _print_tag(name: str, tag: StoredTag, as_json: bool) -> None:
    if as_json:
        print_json({"ok": True, "name": name, **asdict(tag)})
    else:
        out.print(plain(f"{name}@{tag.tag} is {tag.version}  {tag.identity}"), soft_wrap=True)

"""The subcommands that read a store: list and updates."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..console import out, print_json, reported_errors, table
from .options import JsonOption, KeysOption, SpecArgument, StoreOption
from .writing import open_store

if TYPE_CHECKING:
    from ...artifacts.store.store import Store


def list_command(
    name: Annotated[str | None, typer.Argument(help="Name of one model.", metavar="NAME")] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the models of a store, or the versions and tags of one model."""
    with reported_errors(as_json=as_json):
        opened = open_store(store)
        models = [_model(opened, each) for each in (opened.models() if name is None else [name])]
        if as_json:
            print_json({"ok": True, "models": models})
            return
        rows = table("model", "version", "tags", "identity")
        for model in models:
            tags = defaultdict(list)
            for tag in model["tags"]:
                tags[tag["version"]].append(tag["tag"])
            for version in model["versions"]:
                rows.add_row(
                    model["name"], version["version"], ", ".join(tags[version["version"]]), version["identity"]
                )
        out.print(rows if models else "the store is empty")


def updates_command(
    spec: SpecArgument, store: StoreOption = None, key: KeysOption = None, as_json: JsonOption = False
) -> None:
    """List the versions that are higher than the one a name means; pre-releases only if that is one."""
    with reported_errors(as_json=as_json):
        updates = open_store(store, key or ()).updates(spec)
        if as_json:
            print_json({"ok": True, "updates": [asdict(each) for each in updates]})
        elif updates:
            rows = table("version", "identity")
            for each in updates:
                rows.add_row(each.version, each.identity)
            out.print(rows)
        else:
            out.print("no updates")


def _model(store: Store, name: str) -> dict[str, Any]:
    versions, tags = store.versions(name), store.tags(name)
    return {"name": name, "versions": [asdict(each) for each in versions], "tags": [asdict(each) for each in tags]}

"""The subcommand `pull`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ...artifacts.checks import Artifact
from ...artifacts.store.addresses import open_backend
from ...artifacts.store.cache import Cache, is_offline
from ...artifacts.store.locate import store_address
from ...artifacts.store.packing import unpack
from ...artifacts.store.pull import pull
from ...artifacts.store.spec import Spec
from ...artifacts.trust.keys import PublicKey, read_keys
from ..console import print_json, reported_errors, write_output
from .options import JsonOption, KeysOption, StoreOption
from .progress import download_bar

PulledArgument = Annotated[
    str,
    typer.Argument(help="NAME[@VERSION|@TAG][#sha256:IDENTITY], or a file that `pack` wrote.", metavar="SPEC|FILE.tar"),
]


def pull_command(
    spec: PulledArgument, store: StoreOption = None, key: KeysOption = None, as_json: JsonOption = False
) -> None:
    """Download a version of an artifact to the cache, or unpack a file to it, check it, and print its folder.

    A version that is in the cache is checked again. A store in a folder is used where it is. With
    ONNX_ML_BRIDGE_OFFLINE=1 nothing is requested. The cache is the folder in ONNX_ML_BRIDGE_CACHE.
    """
    with reported_errors(as_json=as_json):
        artifact = _pulled(spec, store, read_keys(key or ()))
        if as_json:
            manifest = artifact.manifest
            found = {"name": manifest.name, "version": manifest.version, "identity": artifact.identity}
            print_json({"ok": True, **found, "path": str(artifact.root)})
        else:
            write_output(os.fsencode(artifact.root) + b"\n")


def _pulled(spec: str, store: str | None, keys: Sequence[PublicKey]) -> Artifact:
    if spec.endswith(".tar"):
        return unpack(Path(spec), Cache(), keys)
    parsed, reader = Spec.parse(spec), open_backend(store_address(store))
    with download_bar() as report:
        return pull(reader, parsed, Cache(), offline=is_offline(), report=report, keys=keys)

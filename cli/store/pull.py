"""The subcommand `pull`."""

from __future__ import annotations

import os

from ...artifacts.store.addresses import open_backend
from ...artifacts.store.cache import Cache, is_offline
from ...artifacts.store.locate import store_address
from ...artifacts.store.pull import pull
from ...artifacts.store.spec import Spec
from ...artifacts.trust.keys import read_keys
from ..console import print_json, reported_errors, write_output
from .options import JsonOption, KeysOption, SpecArgument, StoreOption
from .progress import download_bar


def pull_command(
    spec: SpecArgument, store: StoreOption = None, key: KeysOption = None, as_json: JsonOption = False
) -> None:
    """Download a version of an artifact to the cache, check it, and print its folder.

    A version that is in the cache is checked again. A store in a folder is used where it is. With
    ONNX_ML_BRIDGE_OFFLINE=1 nothing is requested. The cache is the folder in ONNX_ML_BRIDGE_CACHE.
    """
    with reported_errors(as_json=as_json):
        parsed, reader = Spec.parse(spec), open_backend(store_address(store))
        keys = read_keys(key or ())
        with download_bar() as report:
            artifact = pull(reader, parsed, Cache(), offline=is_offline(), report=report, keys=keys)
        if as_json:
            manifest = artifact.manifest
            found = {"name": manifest.name, "version": manifest.version, "identity": artifact.identity}
            print_json({"ok": True, **found, "path": str(artifact.root)})
        else:
            write_output(os.fsencode(artifact.root) + b"\n")

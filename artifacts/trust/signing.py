"""Signs artifacts with the library of OpenSSF Model Signing."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from ..checks import check_all, read_artifact
from ..errors import DependencyError
from ..new_file import new_file
from .enforced import SIGNATURES_SUFFIX, check_bundle
from .keys import PrivateKey, key_password


def sign(folder: str | os.PathLike[str], key: str | os.PathLike[str]) -> Path:
    """Sign an artifact and write the bundle to `FOLDER.signatures/KEYHASH.json`.

    :param key: the path of a private key; see `PrivateKey.read`.
    :returns: the path of the bundle.
    :raises ArtifactError: with the code of the first check that the artifact fails.
    :raises ConfigError: if the key cannot be used.
    :raises DependencyError: if a library of the extra `sign` is missing.
    """
    private = PrivateKey.read(key)
    artifact = read_artifact(folder)
    check_all(artifact)
    root = artifact.root.absolute()
    raw = _bundle(root, private)
    check_bundle(raw, private.public, artifact)
    path = root.with_name(root.name + SIGNATURES_SUFFIX) / f"{private.public.hash}.json"
    path.parent.mkdir(exist_ok=True)
    with new_file(path) as file:
        file.write(raw)
    return path


def _bundle(root: Path, key: PrivateKey) -> bytes:
    signing = _import_signing()
    password = key_password()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bundle.json"
        config = signing.Config().use_elliptic_key_signer(private_key=key.path, password=password)
        config.sign(root, path)
        return path.read_bytes()


def _import_signing() -> Any:
    try:
        from model_signing import signing
    except ImportError as error:
        hint = "Install it: pip install 'onnx-ml-bridge[store,sign]'"
        raise DependencyError("signing requires the library model-signing", hint=hint) from error
    return signing

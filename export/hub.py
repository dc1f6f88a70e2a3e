"""Downloads models of a hub into the cache of huggingface_hub. Every failure becomes a `BuildError`.

The library takes HF_ENDPOINT, HF_HUB_CACHE, HF_TOKEN, HF_HUB_OFFLINE and the variables of proxies into account. It
resumes files, but compares only their sizes; their hashes are checked here.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from ..artifacts.errors import BuildError

_ATTEMPTS = 4
# The statuses of a server that is too busy or restarts
_TRANSIENT = (429, 500, 502, 503, 504)
_MAX_WAIT_SECONDS = 60
_HINTS = {
    401: "Check the name; a private or gated model needs a token (HF_TOKEN).",
    403: "The token (HF_TOKEN) has no access to this model.",
    404: "Check the name and the revision.",
    429: "The hub limits the number of requests: try again later.",
}


def download(identifier: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """Download the files of a model that match one of the patterns; return their folder.

    :raises BuildError: with the code `source` if the model cannot be downloaded, or a file has other bytes than the
        hub says.
    """
    name = f"{identifier}@{revision}" if revision else identifier
    try:
        folder = Path(_retried(identifier, revision, patterns))
    except Exception as error:  # the libraries raise exceptions of any class: of HTTP, of JSON, of the system
        response = _response(error)
        hint = None if response is None else _HINTS.get(response.status_code)
        raise BuildError("source", f"{name} cannot be downloaded from the hub: {error}", hint=hint) from error
    for path, blob in _blobs(folder):
        if not _has_its_name(blob):
            raise BuildError(
                "source",
                f"{path.relative_to(folder)} of {name} was not downloaded correctly: its hash is not the hub's",
                expected=blob.name,
                hint=f"Delete {blob} and try again.",
            )
    return folder


def _retried(identifier: str, revision: str | None, patterns: Sequence[str]) -> str:
    """Download a snapshot; a hub that is busy is asked again. Files that are complete are not downloaded again."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return snapshot_download(
                identifier,
                revision=revision,
                allow_patterns=list(patterns),
                local_files_only=constants.HF_HUB_OFFLINE,
            )
        except (HfHubHTTPError, LocalEntryNotFoundError) as error:
            response = _response(error)
            if attempt == _ATTEMPTS or response is None or response.status_code not in _TRANSIENT:
                raise
            time.sleep(_wait_seconds(response, attempt))
    raise AssertionError("the last attempt returns or raises")


def _response(error: BaseException | None) -> Any:
    """Return the answer of the hub that led to an error, or None.

    The library raises a `LocalEntryNotFoundError` because of the answer if the cache does not have the model either.
    """
    while error is not None and getattr(error, "response", None) is None:
        error = error.__cause__
    return None if error is None else getattr(error, "response", None)


def _wait_seconds(response: Any, attempt: int) -> float:
    """Return how long to wait before the next attempt: what the hub says, else twice as long as before."""
    said = str(response.headers.get("Retry-After", ""))
    return min(float(said) if said.isdecimal() else 2.0**attempt, _MAX_WAIT_SECONDS)


def _blobs(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the files of a snapshot and the files of the cache that they are links to.

    The cache names them after the hashes of their content that the hub announced.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            yield path, path.resolve()


def _has_its_name(blob: Path) -> bool:
    """Return whether the content of a file has the hash that is its name: SHA-256, or that of Git for small files."""
    if re.fullmatch("[0-9a-f]{64}", blob.name):
        digest = hashlib.sha256()
    elif re.fullmatch("[0-9a-f]{40}", blob.name):
        digest = hashlib.sha1(b"blob %d\0" % blob.stat().st_size, usedforsecurity=False)
    else:  # a hub that names no hash
        return True
    with blob.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest() == blob.name

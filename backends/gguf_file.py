"""The GGUF file of a server, and the check that it is the right one."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..artifacts.errors import ArtifactError, OnnxMlBridgeError


class GgufFile:
    """A file that must have a SHA-256, if one is given."""

    def __init__(self, path: Path, sha256: str | None) -> None:
        """Name a file, which is not read."""
        self._path, self._sha256 = path, sha256
        self._stamp: tuple[int, ...] | None = None

    def check(self) -> None:
        """Check that the file can be read and has its hash; a file that did not change since is not hashed again.

        :raises OnnxMlBridgeError: with the code `io` if the file cannot be read.
        :raises ArtifactError: with the code `file_hash` if it has another SHA-256.
        """
        try:
            stat = self._path.stat()
            stamp = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
            with self._path.open("rb") as file:
                if self._sha256 is None or stamp == self._stamp:
                    return
                actual = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise OnnxMlBridgeError("io", f"{self._path}: {error.strerror}") from error
        if actual != self._sha256:
            raise ArtifactError("file_hash", f"{self._path} is another file", expected=self._sha256, actual=actual)
        self._stamp = stamp

"""Reads the objects of a bucket or web server, and turns the errors of the library into those of a store."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import StoreError, missing_store_library
from .backend import Stored

# The size in bytes of the pieces of an object that `read` yields.
PIECE_BYTES = 1 << 18

_OFFLINE = "ONNX_ML_BRIDGE_OFFLINE=1 uses what was resolved and pulled before."
_CREDENTIALS = "Check the credentials and the region in the environment, such as AWS_ACCESS_KEY_ID and AWS_REGION."
_METADATA_HOSTS = ("169.254.169.254", "169.254.170.2", "metadata.google.internal")
# Signed URLs of Azure have their signature in the query.
_QUERY = re.compile(r"\?[^\s)\"']*")


class ObjectReader:
    """The reading methods of a backend whose objects `obstore` reads."""

    def __init__(self, address: str, store: Any) -> None:
        """Wrap a store of `obstore`.

        :param address: the address without credentials.
        """
        self._address = address
        self._store = store
        self._obstore = import_obstore()
        # None: not known yet
        self._has_ranges: bool | None = True

    @property
    def address(self) -> str:
        """The address of the store without credentials."""
        return self._address

    def get(self, key: str, limit: int) -> Stored | None:
        """Return a small object, None if it is missing.

        :param limit: the maximum size in bytes.
        :raises StoreError: if it is larger, or if the store cannot be read.
        """
        try:
            with self.errors(f"read {key}"):
                result = self._obstore.get(self._store, key)
                if (size := result.meta["size"]) > limit:
                    raise StoreError(f"{key} is too large", expected=f"at most {limit} bytes", actual=size)
                # Google Cloud Storage compares the version, the others the ETag
                etag = "\n".join(each or "" for each in (result.meta["e_tag"], result.meta["version"]))
                return Stored(bytes(result.bytes()), etag)
        except MissingObjectError:
            return None

    def read(self, key: str, start: int, end: int) -> Iterator[bytes | memoryview]:
        """Yield the bytes of an object in `[start, end)`, in pieces.

        A server without ranges sends the object from its beginning; what is before `start` is dropped.

        :raises StoreError: if the object is missing or cannot be read.
        """
        if start >= end:
            return
        position = start
        with self.errors(f"read {key}"):
            result, position = self._open(key, start, end)
            for piece in result.stream(min_chunk_size=PIECE_BYTES):
                data = memoryview(piece)[max(0, start - position) : end - position]
                position += len(piece)
                if data:
                    yield data
                if position >= end:
                    return

    def has_ranges(self, key: str) -> bool:
        """Whether a part of an object can be read without what is before it; `key` is an object that is not empty."""
        return True

    def _open(self, key: str, start: int, end: int) -> tuple[Any, int]:
        """Return an answer with an object, and the position of its first byte in the object."""
        if self._has_ranges is not False:
            try:
                return self._obstore.get(self._store, key, options={"range": (start, end)}), start
            except self._obstore.exceptions.NotSupportedError:
                self._has_ranges = False
        return self._obstore.get(self._store, key), 0

    @contextmanager
    def errors(self, action: str) -> Iterator[None]:
        """Convert the errors of the library.

        :param action: what is done, for the message.
        :raises MissingObjectError: if an object is missing.
        :raises StoreError: for other errors.
        """
        exceptions = self._obstore.exceptions
        _check_process()
        try:
            yield
        except (exceptions.BaseError, OSError) as error:
            # The causes are dropped: they repeat whole requests
            raise self._converted(error, action) from None

    def _converted(self, error: Exception, action: str) -> StoreError:
        exceptions, text = self._obstore.exceptions, str(error)
        what = f"cannot {action} in the store {self._address}"
        is_missing = isinstance(error, (FileNotFoundError, exceptions.NotFoundError))
        if is_missing and not re.search("NoSuchBucket|ContainerNotFound|bucket does not exist", text):
            return MissingObjectError(f"{what}: it is missing")
        reason = _QUERY.sub("?...", text.partition("\n")[0]).rstrip(": ")
        is_refused = isinstance(error, (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError))
        # Without credentials in the environment, the library asks the metadata service of the cloud
        is_refused = is_refused or any(host in text for host in _METADATA_HOSTS)
        hint = _CREDENTIALS if is_refused else f"Check the address and the network; {_OFFLINE}"
        return StoreError(f"{what}: {reason}", hint=hint)


# The process that made the first request
_process: int | None = None


def _check_process() -> None:
    """Refuse a request in a child process of a fork: the threads of `obstore` are in its parent, and it would wait.

    :raises StoreError: if the parent made a request before the fork.
    """
    global _process
    if _process is None:
        _process = os.getpid()
    if _process != os.getpid():
        hint = "Pull in the parent, or start processes with spawn instead of fork."
        raise StoreError("the process was forked from one that used a bucket or web server", hint=hint)


class MissingObjectError(StoreError):
    """An object of the store is missing."""


def import_obstore() -> Any:
    """Return the module `obstore`.

    :raises DependencyError: if it is not installed.
    """
    try:
        import obstore.exceptions
        import obstore.store
    except ImportError as error:
        raise missing_store_library("buckets and web servers require", "obstore") from error
    return obstore

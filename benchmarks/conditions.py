"""What is recorded of the machine and its software, beside the figures."""

from __future__ import annotations

import datetime
import hashlib
import platform
import subprocess
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path


def today() -> str:
    """The date in UTC."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def hash_of(texts: Iterable[str]) -> str:
    """SHA-256 of the texts, joined by line feeds."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def versions(libraries: Sequence[str], rust: Path | None) -> dict[str, str]:
    """Versions of Python, of what is installed of the libraries, and of the crate's command."""
    found = {"Python": platform.python_version()}
    for name in libraries:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if rust is not None and rust.is_file():
        done = subprocess.run([rust.resolve(), "--version"], capture_output=True, text=True, check=False)
        found["onnx-ml-bridge (Rust)"] = done.stdout.split()[-1] if done.stdout.split() else "unknown"
    return found

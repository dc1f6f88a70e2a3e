"""Assertions about errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from onnx_ml_bridge.artifacts.errors import ArtifactError, BuildError


def refused(code: str, *words: str) -> Any:
    """Expect a `BuildError` with the given code, whose message matches all the given regular expressions."""
    return pytest.raises(BuildError, match="".join(f"(?=(?s:.*){word})" for word in words), check=_has_code(code))


def _has_code(code: str) -> Callable[[BuildError], bool]:
    return lambda error: error.code == code


def artifact_code(call: Callable[[], object]) -> str | None:
    """Return the code of the `ArtifactError` that a call raises; None if it raises none."""
    try:
        call()
    except ArtifactError as error:
        return error.code
    return None

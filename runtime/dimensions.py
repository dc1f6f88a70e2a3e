"""Shorter vectors of a sentence embedding model: the first elements, as Matryoshka models are trained for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..artifacts.errors import ConfigError

# The minimum divisor of a normalization, as in torch
_MIN_LENGTH = 1e-12


def check_dimensions(dimensions: object, listed: Sequence[int]) -> None:
    """Check the option `dimensions` of a call; None asks for whole vectors.

    :param listed: the dimensions that the manifest lists.
    :raises ConfigError: for a value that is not listed.
    """
    if dimensions is None or (type(dimensions) is int and dimensions in listed):
        return
    expected = f"one of {', '.join(map(str, listed))}" if listed else "none, because the model lists no dimensions"
    raise ConfigError("dimensions", expected=expected, actual=repr(dimensions))


def shortened(vectors: NDArray[np.float32], dimensions: int | None, *, normalized: bool) -> NDArray[np.float32]:
    """Return the first elements of vectors.

    :param vectors: float32 `[..., dim]`.
    :param dimensions: the number of elements, None for all.
    :param normalized: whether the model's vectors have the length 1; shorter vectors then have it too.
    :returns: float32 `[..., dimensions]`.
    """
    if dimensions is None or dimensions == vectors.shape[-1]:
        return vectors
    cut = vectors[..., :dimensions]
    if not normalized:
        return cut.copy()
    wide = cut.astype(np.float64)
    lengths = np.sqrt((wide * wide).sum(-1, keepdims=True))
    result: NDArray[np.float32] = (wide / np.maximum(lengths, _MIN_LENGTH)).astype(np.float32)
    return result

"""Shorter vectors of a sentence embedding model: the first elements, as Matryoshka models are trained for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..artifacts.errors import ConfigError
from ..artifacts.families.sentence_embedding import EmbeddingSpec

# The minimum divisor of a normalization, as in torch
_MIN_LENGTH = 1e-12


def check_dimensions(spec: EmbeddingSpec, dimensions: object) -> None:
    """Check the option `dimensions` of a call; None asks for whole vectors.

    :raises ConfigError: for a value that the manifest does not list.
    """
    if dimensions is None or (type(dimensions) is int and dimensions in spec.dimensions):
        return
    listed = ", ".join(map(str, spec.dimensions))
    expected = f"one of {listed}" if listed else "none: the model lists no dimensions"
    raise ConfigError("dimensions", expected=expected, actual=repr(dimensions))


def shortened(vectors: NDArray[np.float32], spec: EmbeddingSpec, dimensions: int | None) -> NDArray[np.float32]:
    """Return the first `dimensions` elements of vectors, which have the length 1 again if the model normalizes.

    :param vectors: float32 `[..., dim]`.
    :param dimensions: the number of elements, None for all.
    :returns: float32 `[..., dimensions]`.
    """
    if dimensions is None or dimensions == vectors.shape[-1]:
        return vectors
    cut = vectors[..., :dimensions]
    if not spec.normalized:
        return cut.copy()
    wide = cut.astype(np.float64)
    lengths = np.sqrt((wide * wide).sum(-1, keepdims=True))
    return (wide / np.maximum(lengths, _MIN_LENGTH)).astype(np.float32)

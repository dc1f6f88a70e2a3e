"""The arithmetic of the int8 scheme, in numpy: what the rewritten graph computes, and the tests' reference for it.

One scale per row (token) for activations, so that a row's result depends on nothing but the row; one scale per output
channel for weights. Activations are unsigned bytes with a fixed zero point, weights signed bytes without one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

# Rows of zeros get this scale instead of a division by zero.
TINY_SCALE = 1e-12
# The erf form of GELU has its minimum at -0.16997, the tanh form at -0.17004.
_GELU_FLOOR = 0.1701
# Levels kept for the negative tail of GELU: the tail then sets a smallest scale of 0.0071, and 231 of 255 levels are
# left for the positive side. 16 and 32 measured the same, 8 and 128 worse.
GELU_ZERO_POINT = 24
# Largest magnitude of a signed byte that has its negative.
INT8_LEVELS = 127


@dataclass(frozen=True)
class ActivationScheme:
    """How the rows of one activation become bytes: `q = clip(rint(x / scale) + zero_point, 0, 255)`.

    `scale` of a row is its peak (largest value, or largest magnitude where `two_sided`) divided by `levels`, and at
    least `min_scale`.
    """

    zero_point: int
    levels: int
    two_sided: bool
    min_scale: float


SYMMETRIC = ActivationScheme(128, 127, True, TINY_SCALE)
AFTER_RELU = ActivationScheme(0, 255, False, TINY_SCALE)
AFTER_GELU = ActivationScheme(GELU_ZERO_POINT, 255 - GELU_ZERO_POINT, False, _GELU_FLOOR / GELU_ZERO_POINT)


def quantize_rows(x: Floats, scheme: ActivationScheme) -> tuple[NDArray[np.uint8], Floats]:
    """Bytes of the same shape as `x`, and the scale of every row `[..., 1]`."""
    peak = np.abs(x).max(-1, keepdims=True) if scheme.two_sided else x.max(-1, keepdims=True)
    scale = np.maximum(peak / scheme.levels, scheme.min_scale)
    return np.clip(np.rint(x / scale) + scheme.zero_point, 0, 255).astype(np.uint8), scale


def dequantize_rows(q: NDArray[np.uint8], scale: Floats, scheme: ActivationScheme) -> Floats:
    """The activations that bytes stand for."""
    return (q.astype(np.float32) - scheme.zero_point) * scale


def channel_scales(weight: Floats, levels: int = INT8_LEVELS) -> Floats:
    """One scale per column of `[in, out]`: its largest magnitude is `levels`; 1 for a column of zeros."""
    peak = np.abs(weight).max(0)
    return np.where(peak > 0, peak / levels, 1.0).astype(np.float32)


def quantize_table(table: Floats, levels: int = INT8_LEVELS) -> tuple[NDArray[np.int8], Floats]:
    """Round an embedding table `[entries, dim]` to int8 with one scale per entry `[entries, 1]`."""
    scales = channel_scales(table.T, levels)[:, None]
    return np.rint(table / scales).astype(np.int8), scales


def noise_ratio_db(exact: Floats, approximate: Floats) -> float:
    """Signal to quantization noise ratio in dB: 10 log10(sum of squares / sum of squared errors)."""
    signal = float(np.square(exact, dtype=np.float64).sum())
    noise = float(np.square(exact - approximate, dtype=np.float64).sum())
    return 10 * float(np.log10(max(signal, 1e-30) / max(noise, 1e-30)))

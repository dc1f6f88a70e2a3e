"""The arithmetic of the int8 scheme in numpy; the nodes that `int8` inserts into a graph compute the same.

Activations have one scale per row (token), so that a row's result depends on no other row; weights have one scale per
output channel. Activations are unsigned bytes with a fixed zero point, weights are signed bytes without one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

# The scale of a row of zeros, because a scale must not be 0.
TINY_SCALE = 1e-12
# GELU has its minimum at -0.16997 (erf form) or -0.17004 (tanh form).
_GELU_FLOOR = 0.1701
# The number of levels below zero, for the negative tail of GELU. With 24, the minimum scale is 0.0071, and 231 of 255
# levels remain for positive values. The error is the same with 16 and 32, and larger with 8 and 128.
GELU_ZERO_POINT = 24
# The largest value of a signed byte whose negative is also a signed byte.
INT8_LEVELS = 127


@dataclass(frozen=True)
class ActivationScheme:
    """How the rows of an activation become bytes: `q = clip(rint(x / scale) + zero_point, 0, 255)`.

    The scale of a row is its peak divided by `levels`, and at least `min_scale`. The peak is the largest value, or the
    largest magnitude if `two_sided`.
    """

    zero_point: int
    levels: int
    two_sided: bool
    min_scale: float


SYMMETRIC = ActivationScheme(128, 127, True, TINY_SCALE)
AFTER_RELU = ActivationScheme(0, 255, False, TINY_SCALE)
AFTER_GELU = ActivationScheme(GELU_ZERO_POINT, 255 - GELU_ZERO_POINT, False, _GELU_FLOOR / GELU_ZERO_POINT)


def quantize_rows(x: Floats, scheme: ActivationScheme) -> tuple[NDArray[np.uint8], Floats]:
    """Quantize rows; return bytes in the shape of `x`, and the scale of every row `[..., 1]`."""
    peak = np.abs(x).max(-1, keepdims=True) if scheme.two_sided else x.max(-1, keepdims=True)
    scale = np.maximum(peak / scheme.levels, scheme.min_scale)
    return np.clip(np.rint(x / scale) + scheme.zero_point, 0, 255).astype(np.uint8), scale


def dequantize_rows(q: NDArray[np.uint8], scale: Floats, scheme: ActivationScheme) -> Floats:
    """Return the activations that the bytes represent."""
    return (q.astype(np.float32) - scheme.zero_point) * scale


def channel_scales(weight: Floats, levels: int = INT8_LEVELS) -> Floats:
    """Return the scale of each column of a weight `[in, out]`: its largest magnitude divided by `levels`.

    The scale of a column of zeros is 1.
    """
    peak = np.abs(weight).max(0)
    return np.where(peak > 0, peak / levels, 1.0).astype(np.float32)


def quantize_table(table: Floats, levels: int = INT8_LEVELS) -> tuple[NDArray[np.int8], Floats]:
    """Round an embedding table `[entries, dim]` to int8 with one scale per entry, `[entries, 1]`."""
    scales = channel_scales(table.T, levels)[:, None]
    return np.rint(table / scales).astype(np.int8), scales


def noise_ratio_db(exact: Floats, approximate: Floats) -> float:
    """Compute the signal-to-quantization-noise ratio in dB: 10 log10(sum of squares / sum of squared errors)."""
    signal = float(np.square(exact, dtype=np.float64).sum())
    noise = float(np.square(exact - approximate, dtype=np.float64).sum())
    return 10 * float(np.log10(max(signal, 1e-30) / max(noise, 1e-30)))

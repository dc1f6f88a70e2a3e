"""The hash functions of spaCy (strings) and thinc (rows of embedding tables)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MASK = (1 << 64) - 1
_M = 0xC6A4A7935BD1E995


def murmur64a(data: bytes, seed: int = 1) -> int:
    """Compute the MurmurHash64A (Austin Appleby; for 64-bit machines) as an unsigned 64-bit integer."""
    whole = len(data) & ~7
    h = (seed ^ (len(data) * _M)) & _MASK
    for index in range(0, whole, 8):
        k = int.from_bytes(data[index : index + 8], "little") * _M & _MASK
        k = (k ^ (k >> 47)) * _M & _MASK
        h = (h ^ k) * _M & _MASK
    if whole != len(data):
        h = (h ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    h = (h ^ (h >> 47)) * _M & _MASK
    return h ^ (h >> 47)


def hash_words(keys: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """Compute the MurmurHash3 (x64, 128 bits) of keys uint64 `[n]` as 32-bit words, lowest first: uint64 `[n, 4]`."""
    start = np.uint64(seed ^ 8)
    with np.errstate(over="ignore"):  # the hash is defined modulo 2^64
        k = keys * np.uint64(0x87C37B91114253D5)
        k = (k << np.uint64(31)) | (k >> np.uint64(33))
        low = (k * np.uint64(0x4CF5AD432745937F) ^ start) + start
        high = low + start
        low, high = _finish(low), _finish(high)
        low = low + high
        high = high + low
    half = np.uint64(0xFFFFFFFF)
    return np.stack([low & half, low >> np.uint64(32), high & half, high >> np.uint64(32)], axis=1)


def _finish(h: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Apply the finalizer of MurmurHash3 to 64-bit words: every input bit affects all output bits."""
    shift = np.uint64(33)
    h = (h ^ (h >> shift)) * np.uint64(0xFF51AFD7ED558CCD)
    h = (h ^ (h >> shift)) * np.uint64(0xC4CEB9FE1A85EC53)
    return h ^ (h >> shift)

"""Equality of dataclasses with arrays, for which the `==` that dataclasses generate raises `ValueError`."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np


class ArrayEquality:
    """Base class that adds `==` to dataclasses with array fields, which have to be declared with `eq=False`.

    Objects are equal if they have the same class and all fields are equal; arrays also need equal shapes and element
    types. The objects are not hashable.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        """Return whether the other object has the same class and equal fields."""
        if type(other) is not type(self):
            return NotImplemented
        names = [field.name for field in fields(self) if field.compare]  # type: ignore[arg-type]
        return all(_is_equal(getattr(self, name), getattr(other, name)) for name in names)

    __hash__ = None  # type: ignore[assignment]


def _is_equal(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return type(a) is type(b) and bool(a == b)

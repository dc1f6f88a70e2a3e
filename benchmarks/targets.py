"""The acceptance ratios, each with the two figures it is made of. A missed target is reported, never an error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from .contenders import OPENVINO_BF16, OPENVINO_F32, ORIGINAL, PYTHON_FP32, PYTHON_INT8, RUST_FP32, RUST_INT8
from .results import BULK, COLD, PEAK_BULK, Conditions, Row, Target

MET, MISSED, UNKNOWN, NO_TARGET = "met", "missed", "not measured", "no target"


class HasMedians(Protocol):
    """A contender's row."""

    def median(self, figure: str) -> float | None:
        """The median of a figure, None where it was not measured."""


@dataclass(frozen=True)
class Ratio:
    """`left` over `right` of one figure; `strict` asks for more than the target instead of at least it."""

    name: str
    figure: str
    left: str
    right: str
    minimum: float | None
    strict: bool = False


def acceptance(rows: tuple[Row, ...], conditions: Conditions) -> tuple[Target, ...]:
    """Every ratio that has a meaning on this machine."""
    by_name = {row.name: row for row in rows}
    return tuple(evaluate(ratio, by_name) for ratio in (*_speed(conditions), *_cold_start(), *_memory()))


def _speed(conditions: Conditions) -> Iterator[Ratio]:
    """Texts/s of the bulk, ours over theirs."""
    avx512 = "avx512f" in conditions.instruction_set
    yield Ratio("fp32 / original, bulk", BULK, PYTHON_FP32, ORIGINAL, 2.5 if avx512 else 1.35)
    if conditions.exact_int8:
        yield Ratio("int8 / original, bulk", BULK, PYTHON_INT8, ORIGINAL, 4.5)
        yield Ratio("int8 / OpenVINO f32, bulk", BULK, PYTHON_INT8, OPENVINO_F32, 1.0, strict=True)
    else:
        yield Ratio("int8 / our fp32, bulk", BULK, PYTHON_INT8, PYTHON_FP32, None)
    yield Ratio("int8 / OpenVINO bf16, bulk", BULK, PYTHON_INT8, OPENVINO_BF16, None)


def _cold_start() -> Iterator[Ratio]:
    """Seconds to the first vector, theirs over ours."""
    for name, ours, minimum in (
        ("fp32 in Python", PYTHON_FP32, 12),
        ("int8 in Python", PYTHON_INT8, 12),
        ("fp32 in Rust", RUST_FP32, 20),
        ("int8 in Rust", RUST_INT8, 30),
    ):
        yield Ratio(f"original / {name}, cold start", COLD, ORIGINAL, ours, minimum)


def _memory() -> Iterator[Ratio]:
    """Peak bytes with the bulk run, theirs over ours."""
    for name, ours, minimum in (
        ("fp32 in Python", PYTHON_FP32, 4),
        ("int8 in Python", PYTHON_INT8, 5),
        ("fp32 in Rust", RUST_FP32, 5),
        ("int8 in Rust", RUST_INT8, 8),
    ):
        yield Ratio(f"original / {name}, peak memory", PEAK_BULK, ORIGINAL, ours, minimum)


def evaluate(ratio: Ratio, rows: Mapping[str, HasMedians]) -> Target:
    """The ratio's value, and whether it meets its target."""
    left, right = (rows[name].median(ratio.figure) if name in rows else None for name in (ratio.left, ratio.right))
    value = left / right if left and right else None
    return Target(ratio.name, left, right, ratio.figure, value, ratio.minimum, _verdict(ratio, value))


def _verdict(ratio: Ratio, value: float | None) -> str:
    if value is None:
        return UNKNOWN
    if ratio.minimum is None:
        return NO_TARGET
    met = value > ratio.minimum if ratio.strict else value >= ratio.minimum
    return MET if met else MISSED

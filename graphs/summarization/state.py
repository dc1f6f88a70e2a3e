"""The values that a step of the search reads: the state after the previous step, and values that never change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

FLOAT, INT64, BOOL = ir.DataType.FLOAT, ir.DataType.INT64, ir.DataType.BOOL


@dataclass(frozen=True)
class State:
    """The values that the loop carries from one step to the next; `FIELD_TYPES` has their types and shapes.

    - `cur`: the number of tokens in every sequence.
    - `tokens`: the tokens that the next step reads.
    - `sequences`, `scores`: the unfinished beams and their summed log probabilities.
    - `done_sequences`, `done_scores`, `is_done`: the finished sequences, their scores after the length penalty, and
      which of their entries are used.
    - `is_open`: the texts whose search continues.
    - `past_mask`: the attention mask between beams and slots of the cache.
    - `caches`: keys and values of every layer, `[slots, batch, heads, head_size]`: keys of layer 0, values of layer 0,
      keys of layer 1 and so on.
    """

    cur: ir.Value
    tokens: ir.Value
    sequences: ir.Value
    scores: ir.Value
    done_sequences: ir.Value
    done_scores: ir.Value
    is_done: ir.Value
    is_open: ir.Value
    past_mask: ir.Value
    caches: tuple[ir.Value, ...]

    def values(self) -> list[ir.Value]:
        """Return all values of the state as a list, in the order of its fields."""
        return [getattr(self, name) for name in FIELD_TYPES] + list(self.caches)

    @classmethod
    def from_values(cls, values: Sequence[ir.Value]) -> State:
        """Create a state from a list of values in the order of its fields."""
        count = len(FIELD_TYPES)
        return cls(**dict(zip(FIELD_TYPES, values, strict=False)), caches=tuple(values[count:]))


# Element type and dimensions of every field of `State` except the caches.
FIELD_TYPES: dict[str, tuple[ir.DataType, tuple[int | str | None, ...]]] = {
    "cur": (INT64, (1,)),
    "tokens": (INT64, ("beams", "batch")),
    "sequences": (INT64, ("batch", "beams", "max_length")),
    "scores": (FLOAT, ("batch", "beams")),
    "done_sequences": (INT64, ("batch", "beams", "max_length")),
    "done_scores": (FLOAT, ("batch", "beams")),
    "is_done": (BOOL, ("batch", "beams")),
    "is_open": (BOOL, ("batch", 1)),
    "past_mask": (FLOAT, ("batch", "beams", None)),
}


@dataclass(frozen=True)
class Inputs:
    """The inputs of the composed graph; each setting is a tensor `[1]`."""

    input_ids: ir.Value
    attention_mask: ir.Value
    num_beams: ir.Value
    min_length: ir.Value
    max_length: ir.Value
    length_penalty: ir.Value


@dataclass(frozen=True)
class Constants:
    """Values that are computed before the loop and are the same in all steps.

    - `is_early`: bool `[1]`, whether the search of a text is over once `num_beams` sequences are finished.
    - `new_mask`, `cross_mask`, `cross`: inputs of the decoder step (`SummarizerParts`); `cross` has keys and values of
      every layer, in the order of `State.caches`.
    """

    is_early: ir.Value
    new_mask: ir.Value
    cross_mask: ir.Value
    cross: tuple[ir.Value, ...]

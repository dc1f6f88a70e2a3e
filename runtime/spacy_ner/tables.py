"""Read tables.safetensors, the lookup tables and decoder weights of a spaCy pipeline, and check it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from ...artifacts.errors import ArtifactError
from ...artifacts.families.spacy_ner import SpacyNetwork, SpacySpec
from ...artifacts.reading import reading_errors
from ..array_equality import ArrayEquality

# The data type and the shape of each tensor, by its name; a dimension None may have any size.
_Shapes = dict[str, tuple[str, tuple[int | None, ...]]]


@dataclass(frozen=True, eq=False)
class StateLayer(ArrayEquality):
    """The layer that scores the parser's transitions, all float32.

    `bias` is `[pieces * hidden]`, `padding` `[8, pieces * hidden]`, `weight` `[moves, hidden]`, `output_bias`
    `[moves]`; `padding` has the features of a missing token.
    """

    bias: NDArray[np.float32]
    padding: NDArray[np.float32]
    weight: NDArray[np.float32]
    output_bias: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Tables(ArrayEquality):
    """The content of tables.safetensors.

    `norms` maps the id of a string to the id of its norm. `vector_keys` (uint64 `[n]`, ascending) and `vector_rows`
    (int32 `[n]`) map the ids of strings to rows of the static vectors. All `ner_` fields are float32: `ner_bias`
    `[pieces * hidden]`, `ner_weight` `[labels, 2, hidden]` and `ner_output_bias` `[labels, 2]`, where the axis of size
    2 holds the scores of I and of L.
    """

    norms: dict[int, int]
    vector_keys: NDArray[np.uint64] | None
    vector_rows: NDArray[np.int32] | None
    ner_bias: NDArray[np.float32]
    ner_weight: NDArray[np.float32]
    ner_output_bias: NDArray[np.float32]
    parser: StateLayer | None

    def norm_of(self, string_id: int) -> int | None:
        """Return the id of the norm of a string, given the string's id; None if the table has none."""
        return self.norms.get(string_id)

    def vector_rows_of(self, ids: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Return, for string ids uint64 `[n]`, the rows of their static vectors, int32 `[n]`; -1 without a vector."""
        assert self.vector_keys is not None and self.vector_rows is not None
        if not len(self.vector_keys):
            return np.full(len(ids), -1, np.int32)
        indices = np.minimum(np.searchsorted(self.vector_keys, ids), len(self.vector_keys) - 1)
        return np.where(self.vector_keys[indices] == ids, self.vector_rows[indices], np.int32(-1))


@reading_errors()
def read_tables(path: Path, spec: SpacySpec) -> Tables:
    """Read the file tables.safetensors of an artifact and check its tensors.

    :raises ArtifactError: with the code `tokenizer` if its tensors are not those that FORMAT.md requires for `spec`,
        `io` if it cannot be read.
    """
    try:
        tensors = load_file(path)
    except (SafetensorError, ValueError) as error:
        raise ArtifactError("tokenizer", f"{path.name} cannot be read: {error}") from error
    if problems := _problems(tensors, _expected_shapes(spec)):
        raise ArtifactError("tokenizer", f"{path.name} does not fit the manifest: {'; '.join(problems)}")
    parser = None
    if spec.parser is not None:
        parser = StateLayer(
            tensors["parser.bias"], tensors["parser.pad"], tensors["parser.weight"], tensors["parser.output_bias"]
        )
    norms = dict(zip(tensors["norm.keys"].tolist(), tensors["norm.values"].tolist(), strict=True))
    return Tables(
        norms=norms,
        vector_keys=tensors.get("vector.keys"),
        vector_rows=tensors.get("vector.rows"),
        ner_bias=tensors["ner.bias"],
        ner_weight=np.stack([tensors["ner.in.weight"], tensors["ner.last.weight"]], axis=1),
        ner_output_bias=np.stack([tensors["ner.in.bias"], tensors["ner.last.bias"]], axis=1),
        parser=parser,
    )


def _expected_shapes(spec: SpacySpec) -> _Shapes:
    labels = len(spec.labels)
    width = spec.ner.pieces * spec.ner.hidden
    shapes: _Shapes = {
        "norm.keys": ("uint64", (None,)),
        "norm.values": ("uint64", (None,)),
        "ner.bias": ("float32", (width,)),
        "ner.in.weight": ("float32", (labels, spec.ner.hidden)),
        "ner.in.bias": ("float32", (labels,)),
        "ner.last.weight": ("float32", (labels, spec.ner.hidden)),
        "ner.last.bias": ("float32", (labels,)),
    }
    if spec.parser is not None:
        width, moves = spec.parser.pieces * spec.parser.hidden, len(spec.parser.moves)
        shapes |= {
            "parser.bias": ("float32", (width,)),
            "parser.pad": ("float32", (8, width)),
            "parser.weight": ("float32", (moves, spec.parser.hidden)),
            "parser.output_bias": ("float32", (moves,)),
        }
    networks: list[SpacyNetwork] = [spec.ner, *([spec.parser] if spec.parser else [])]
    if any(network.vectors for network in networks):
        shapes |= {"vector.keys": ("uint64", (None,)), "vector.rows": ("int32", (None,))}
    return shapes


def _problems(tensors: dict[str, NDArray[Any]], expected: _Shapes) -> list[str]:
    problems = [f"tensor {name} is missing" for name in sorted(set(expected) - set(tensors))]
    problems += [f"tensor {name} is unknown" for name in sorted(set(tensors) - set(expected))]
    if problems:
        return problems
    for name, (dtype, shape) in expected.items():
        tensor = tensors[name]
        fits = len(tensor.shape) == len(shape) and all(b in (None, a) for a, b in zip(tensor.shape, shape, strict=True))
        if tensor.dtype != dtype or not fits:
            problems.append(f"{name} is {tensor.dtype} {list(tensor.shape)}, expected {dtype} {list(shape)}")
        elif dtype == "float32" and not np.isfinite(tensor).all():
            problems.append(f"{name} has a value that is not finite")
    return problems or _key_problems(tensors)


def _key_problems(tensors: dict[str, NDArray[Any]]) -> list[str]:
    problems = []
    for keys, values in (("norm.keys", "norm.values"), ("vector.keys", "vector.rows")):
        if keys not in tensors:
            continue
        if len(tensors[keys]) != len(tensors[values]):
            problems.append(f"{keys} and {values} differ in length")
        if (tensors[keys][1:] <= tensors[keys][:-1]).any():
            problems.append(f"{keys} are not ascending")
    if "vector.rows" in tensors and (tensors["vector.rows"] < 0).any():
        problems.append("vector.rows has a negative row")
    return problems

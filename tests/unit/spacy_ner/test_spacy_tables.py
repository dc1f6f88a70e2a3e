"""Reading tables.safetensors: invalid files are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from examples import VALID
from onnx_ml_bridge.artifacts.checks import read_artifact
from onnx_ml_bridge.artifacts.families.spacy_ner import SpacySpec
from onnx_ml_bridge.runtime.spacy_ner.tables import read_tables
from refusing import artifact_code
from safetensors.numpy import load_file, save_file

TINY = VALID / "tiny-spacy"
SPEC = read_artifact(TINY).manifest.section(SpacySpec)
TENSORS = load_file(TINY / SPEC.tables)


def reverse(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda tensors: tensors.update({name: tensors[name][::-1].copy()})


WRONG_TABLES: dict[str, Callable[[dict[str, Any]], object]] = {
    **{f"no {name}": (lambda tensors, name=name: tensors.pop(name)) for name in TENSORS},
    **{
        f"{name} as float64": (lambda tensors, name=name: tensors.update({name: tensors[name].astype(np.float64)}))
        for name in TENSORS
    },
    **{
        f"{name} has a row": (lambda tensors, name=name: tensors.update({name: tensors[name][None]}))
        for name in TENSORS
    },
    **{
        f"{name} too short": (lambda tensors, name=name: tensors.update({name: tensors[name][:-1]}))
        for name in TENSORS
        if not name.startswith(("norm", "vector"))
    },
    "one more": lambda tensors: tensors.update(extra=np.zeros(1, np.float32)),
    "norms descending": reverse("norm.keys"),
    "vectors descending": reverse("vector.keys"),
    "a norm twice": lambda tensors: tensors["norm.keys"].__setitem__(1, tensors["norm.keys"][0]),
    "norms of two lengths": lambda tensors: tensors.update({"norm.values": tensors["norm.values"][:-1]}),
    "vectors of two lengths": lambda tensors: tensors.update({"vector.rows": tensors["vector.rows"][:-1]}),
    "a negative row": lambda tensors: tensors["vector.rows"].__setitem__(0, -1),
    "infinity": lambda tensors: tensors["ner.bias"].__setitem__(0, np.inf),
    "no number": lambda tensors: tensors["parser.pad"].__setitem__((1, 1), np.nan),
}


@pytest.mark.parametrize("change", WRONG_TABLES.values(), ids=WRONG_TABLES)
def test_invalid_tables_are_refused(change, tmp_path):
    tensors = {name: tensor.copy() for name, tensor in TENSORS.items()}
    change(tensors)
    save_file(tensors, tmp_path / "tables.safetensors")
    assert artifact_code(lambda: read_tables(tmp_path / "tables.safetensors", SPEC)) == "tokenizer"


@pytest.mark.parametrize("size", [0, 7, 100, -1])
def test_a_truncated_file_is_refused(size, tmp_path):
    (tmp_path / "tables.safetensors").write_bytes((TINY / SPEC.tables).read_bytes()[:size])
    assert artifact_code(lambda: read_tables(tmp_path / "tables.safetensors", SPEC)) == "tokenizer"

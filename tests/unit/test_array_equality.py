"""Results with arrays can be compared, and `Entities` is a sequence."""

import ast
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from onnx_ml_bridge import Embedding, Embeddings
from onnx_ml_bridge.runtime.entities import Entities, Entity


def embeddings() -> Embeddings:
    return Embeddings(np.ones((2, 3), np.float32), np.array([1, 2]), np.array([True, False]))


def scored():
    from onnx_ml_bridge.runtime.rerank import Scored

    return Scored(np.ones(2, np.float32), np.array([1, 2]), np.array([True, False]))


BOTH = [
    pytest.param(embeddings, marks=pytest.mark.families("sentence_embedding")),
    pytest.param(scored, marks=pytest.mark.families("rerank")),
]


@pytest.mark.parametrize("make", BOTH)
def test_results_with_arrays_are_compared_by_their_elements(make):
    result = make()
    assert result == make()
    assert not (result != make())  # noqa: SIM202 - another operator
    assert result in [make()]
    for change in (result.token_counts + 1, result.token_counts[:1], result.token_counts.astype(np.int32), None):
        assert result != replace(result, token_counts=change)
    assert result != "other" and result is not None
    with pytest.raises(TypeError, match="unhashable"):
        hash(result)


@pytest.mark.families("sentence_embedding", "rerank")
def test_results_of_different_classes_differ():
    assert embeddings() != scored()
    assert Embedding(np.ones(3, np.float32), 1, False) == Embedding(np.ones(3, np.float32), 1, False)
    assert Embedding(np.ones(3, np.float32), 1, False) != Embedding(np.zeros(3, np.float32), 1, False)


def test_no_dataclass_with_arrays_has_a_generated_comparison():
    stages = ("artifacts", "export", "graphs", "parity", "quantize", "runtime")
    folders = [Path(str(resources.files(f"onnx_ml_bridge.{stage}"))) for stage in stages]
    files = [file for folder in folders for file in folder.rglob("*.py")]
    assert len(files) > 50
    assert [name for file in files for name in generated(ast.parse(file.read_text()))] == []


def generated(tree: ast.AST) -> list[str]:
    """Return the names of the dataclasses with array fields that are not declared with `eq=False`."""
    return [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and any(
            ast.unparse(each).startswith("dataclass") and "eq=False" not in ast.unparse(each)
            for each in node.decorator_list
        )
        and any(isinstance(each, ast.AnnAssign) and "NDArray" in ast.unparse(each.annotation) for each in node.body)
    ]


def test_entities_are_a_sequence():
    first, second = Entity("Ada", "PER", 0, 3, 0, 3), Entity("Kofi", "PER", 8, 12, 8, 12)
    entities = Entities((first, second), 5, False)
    assert list(entities) == [first, second] and len(entities) == 2
    assert (entities[0], entities[-1], entities[:1]) == (first, second, (first,))
    assert second in entities and not Entities((), 2, False)
    with pytest.raises(IndexError):
        entities[2]

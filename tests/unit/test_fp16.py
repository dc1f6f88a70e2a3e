"""The fp16 variant: its graphs, and which models can have it."""

import numpy as np
import onnx_ir as ir
import pytest
from examples import VALID
from onnx_ml_bridge.artifacts.constants import FP16
from onnx_ml_bridge.artifacts.errors import BuildError
from onnx_ml_bridge.cli.config import ModelConfig
from onnx_ml_bridge.graphs.files import describe_graph, save_graph
from onnx_ml_bridge.quantize.fp16 import _EXACT_OPERATORS, convert
from onnx_ml_bridge.runtime.session import create_session

TINY = VALID / "tiny-embedding/onnx/model.onnx"
EMBEDDING = pytest.mark.families("sentence_embedding")


def feeds(row: list[int]) -> dict[str, np.ndarray]:
    ids = np.array([row])
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


@pytest.fixture(scope="module")
def converted() -> ir.Model:
    return convert(TINY)


@EMBEDDING
def test_inputs_and_outputs_keep_their_types(converted):
    original = ir.load(TINY)
    assert describe_graph(converted, "a.onnx").inputs == describe_graph(original, "a.onnx").inputs
    assert describe_graph(converted, "a.onnx").outputs == describe_graph(original, "a.onnx").outputs


@EMBEDDING
def test_weights_are_float16_and_some_operators_stay_in_float32(converted):
    dtypes = {value.dtype for value in converted.graph.initializers.values() if value.shape.numpy() != ()}
    assert ir.DataType.FLOAT16 in dtypes
    nodes = list(converted.graph)
    exact = [node for node in nodes if node.op_type in _EXACT_OPERATORS]
    assert {"LayerNormalization", "Softmax", "ReduceL2"} <= {node.op_type for node in exact}
    into_half = [
        node for node in nodes if node.op_type == "Cast" and node.attributes["to"].as_int() == ir.DataType.FLOAT16
    ]
    to_half = {node.outputs[0] for node in into_half}
    halves = {value for value in converted.graph.initializers.values() if value.dtype == ir.DataType.FLOAT16}
    assert not any(value in to_half | halves for node in exact for value in node.inputs)
    products = [node for node in nodes if node.op_type == "MatMul"]
    assert products and all(node.inputs[1] in halves or node.inputs[1].producer() for node in products)


@EMBEDDING
def test_the_vectors_are_close_and_have_the_length_1(converted, tmp_path):
    save_graph(converted, tmp_path, "onnx/model_fp16.onnx")
    sessions = [create_session(path, 1) for path in (TINY, tmp_path / "onnx/model_fp16.onnx")]
    differ = False
    for row in ([2, 5, 6, 3], [2, 7, 3], [2, *range(5, 25), 3]):
        exact, half = (session.run(["sentence_embedding"], feeds(row))[0][0] for session in sessions)
        assert half.dtype == np.float32 and float(exact @ half) >= 0.999
        assert abs(float(np.linalg.norm(half)) - 1) < 1e-5
        differ |= not np.array_equal(exact, half)
    assert differ, "the graph computes in float16"


@EMBEDDING
def test_the_same_graph_is_converted_to_the_same_bytes(converted, tmp_path):
    for folder, model in (("a", converted), ("b", convert(TINY))):
        save_graph(model, tmp_path / folder, "onnx/model_fp16.onnx")
    names = ("onnx/model_fp16.onnx", "onnx/model_fp16.onnx_data")
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)


@EMBEDDING
def test_only_builds_that_name_fp16_have_it():
    config = ModelConfig(name="x", version="1", source="path:x", task="sentence-embedding")
    assert config.settings("transformers").variants == ("fp32", "int8")
    named = config.model_copy(update={"variants": ["fp32", FP16]}).settings("transformers")
    assert named.variants == ("fp32", FP16) and named.gate(FP16)["cosine_min"] == 0.999


@pytest.mark.families("spacy_ner", "token_classification")
def test_spacy_models_have_no_fp16():
    config = ModelConfig(name="x", version="1", source="path:x", task="ner", variants=[FP16])
    with pytest.raises(BuildError, match="fp16"):
        config.settings("spacy")

"""The saturation rule (FORMAT.md, "int8 graphs"), checked on the graph that ONNX Runtime optimized."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from examples import VALID
from onnx_ml_bridge.runtime import cpu, session

TINY = VALID / "tiny-embedding"
OPTION = "session.x64quantprecision"


def weight_types(tmp_path: Path, options: dict[str, str]) -> set[str]:
    """Return the element types of the weights of all 8-bit products in the optimized graph."""
    import onnxruntime as ort

    target = tmp_path / "optimized.onnx"
    created = ort.SessionOptions()
    created.optimized_model_filepath = str(target)
    created.log_severity_level = 3
    for key, value in options.items():
        created.add_session_config_entry(key, value)
    ort.InferenceSession(str(TINY / "onnx/model_int8.onnx"), created, providers=["CPUExecutionProvider"])
    graph = onnx.load(target, load_external_data=False).graph
    weights = {tensor.name: onnx.TensorProto.DataType.Name(tensor.data_type) for tensor in graph.initializer}
    products = [node for node in graph.node if node.op_type == "MatMulIntegerToFloat"]
    assert len(products) == 12, "six per layer"
    return {weights[node.input[1]] for node in products}


def test_the_option_changes_the_weights_to_uint8(tmp_path):
    assert weight_types(tmp_path, {}) == {"INT8"}
    assert weight_types(tmp_path, {OPTION: "1"}) == {"UINT8"}


@pytest.mark.parametrize(
    ("architecture", "flags", "needed"),
    [
        ("x86_64", {"avx2", "avx512f"}, True),
        ("AMD64", set(), True),
        ("x86_64", {"avx512_vnni"}, False),
        ("x86_64", {"avx_vnni"}, False),
        ("x86_64", {"amx_int8"}, False),
        ("aarch64", set(), False),
    ],
)
def test_which_cpus_need_the_exact_kernel(architecture, flags, needed):
    assert cpu.needs_exact_kernel(architecture, frozenset(flags)) is needed


@pytest.mark.parametrize("needed", [True, False])
def test_sessions_set_the_option_if_it_is_needed(monkeypatch, needed):
    entries = {}
    ort = session.import_onnxruntime()

    class Recording(ort.SessionOptions):
        def add_session_config_entry(self, key, value):
            entries[key] = value
            super().add_session_config_entry(key, value)

    monkeypatch.setattr(cpu, "needs_exact_kernel", lambda: needed)
    monkeypatch.setattr(ort, "SessionOptions", Recording)
    created = session.create_session(TINY / "onnx/model_int8.onnx", 1)
    assert (entries.get(OPTION) == "1") is needed
    ids = np.array([[2, 5, 6, 3]])
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    assert np.isfinite(created.run(["sentence_embedding"], feeds)[0]).all()


@pytest.mark.skipif(not cpu.has_exact_int8(), reason="without VNNI the default kernel may saturate")
def test_both_kernels_return_the_same_vectors(monkeypatch):
    ids = np.array([[2, 5, 6, 7, 8, 9, 3]])
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    found = []
    for needed in (True, False):
        monkeypatch.setattr(cpu, "needs_exact_kernel", lambda needed=needed: needed)
        created = session.create_session(TINY / "onnx/model_int8.onnx", 1)
        found.append(created.run(["sentence_embedding"], feeds)[0])
    np.testing.assert_allclose(found[0], found[1], atol=1e-6, rtol=0)

"""The execution provider of OpenVINO runs models, in the environment that `make test-openvino` creates for it."""

import os

import numpy as np
import pytest
from examples import VALID
from onnx_ml_bridge import DeviceError, Embedder, EmbedOptions, Model, OnnxMlBridge, Recognizer, open_bridge

if "ONNX_ML_BRIDGE_OPENVINO" not in os.environ:
    pytest.skip("make test-openvino runs these tests", allow_module_level=True)

TEXTS = ["the cat sings", "a dog", "the small cat saw a dog in the house"]
PROVIDER = "OpenVINOExecutionProvider"


def test_openvino_runs_the_nodes_and_the_report_says_so():
    with OnnxMlBridge.open(
        Model(VALID / "tiny-embedding", "openvino", device="openvino:CPU"),
        Model(VALID / "tiny-embedding", "cpu", variant="fp32", device="cpu"),
    ) as bridge:
        vectors = {name: bridge.embedder(name).embed(TEXTS).vectors for name in ("openvino", "cpu")}
        np.testing.assert_allclose(vectors["openvino"], vectors["cpu"], atol=2e-6, rtol=0)
        found, processor = bridge.models()
        assert (found.device, found.variant) == ("openvino:CPU", "fp32"), "never int8 on another device"
        assert found.providers[PROVIDER] >= 1 and set(found.providers) <= {PROVIDER, "CPUExecutionProvider"}
        assert (processor.device, processor.providers) == ("cpu", {"CPUExecutionProvider": None})


def test_a_token_classifier_has_the_same_entities():
    text = "Ann met Bo in Paris."
    models = [Model(VALID / "tiny-ner", variant="fp32", device=device) for device in ("cpu", "openvino")]
    first, second = [Recognizer.open(model) for model in models]
    (expected,), (actual,) = first.recognize([text]), second.recognize([text])
    assert [(each.start, each.end, each.label) for each in actual] == [
        (each.start, each.end, each.label) for each in expected
    ]
    assert second.info.providers[PROVIDER] >= 1


def test_auto_takes_no_openvino_and_an_absent_gpu_is_an_error():
    assert Embedder.open(Model(VALID / "tiny-embedding")).info.device == "cpu"
    with pytest.raises(DeviceError, match=r"device openvino:GPU cannot be used.*Available: .*openvino"):
        Embedder.open(Model(VALID / "tiny-embedding", device="openvino:GPU"))


def test_devices_take_turns_and_the_models_of_a_file_have_theirs(tmp_path):
    file = tmp_path / "bridge.toml"
    file.write_text(f'[models.a]\npath = "{VALID / "tiny-embedding"}"\nvariant = "fp32"\ndevice = "openvino,cpu"\n')
    with open_bridge(file) as bridge:
        embedder = bridge.embedder()
        found = [embedder.embed(TEXTS[:1], EmbedOptions()).vectors for _ in range(4)]
        np.testing.assert_allclose(found[0], found[1], atol=2e-6, rtol=0)
        assert set(bridge.models()[0].providers) >= {PROVIDER, "CPUExecutionProvider"}

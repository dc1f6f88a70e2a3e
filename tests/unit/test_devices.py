"""Devices: the shared cases of names, selection and variants, and sessions on devices that exist or not."""

import json
import logging
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from examples import VALID
from onnx_ml_bridge import (
    ConfigError,
    DeviceError,
    Embedder,
    Model,
    OnnxMlBridge,
    SummarizeOptions,
    Summarizer,
    verify,
)
from onnx_ml_bridge.artifacts.checks import read_artifact
from onnx_ml_bridge.runtime import cpu, device_selection, session
from onnx_ml_bridge.runtime.device_selection import probe_device, select_devices
from onnx_ml_bridge.runtime.devices import CPU, KINDS, Device, Devices, SessionsInTurn, parse_devices
from onnx_ml_bridge.runtime.loading import choose_variant
from onnx_ml_bridge.runtime.provider_report import count_events

CASES = json.loads((Path(__file__).parents[1] / "golden/devices.json").read_text(encoding="utf-8"))
TINY = VALID / "tiny-embedding"
LOGGER = "onnx_ml_bridge.runtime.device_selection"
EMBEDDING = pytest.mark.families("sentence_embedding")


def test_the_table_has_the_shared_kinds():
    assert [{"name": kind.name, "provider": kind.provider, "syntax": kind.syntax} for kind in KINDS] == CASES["kinds"]


@pytest.mark.parametrize("case", CASES["parse"], ids=lambda case: case["device"])
def test_names_of_devices(case):
    if case["expected"] == "config":
        with pytest.raises(ConfigError, match="option device") as refused:
            parse_devices(case["device"])
        assert all(kind.syntax in str(refused.value) for kind in KINDS)
        return
    devices = parse_devices(case["device"])
    found = devices and [{"name": d.name, "provider": d.provider, "options": dict(d.options)} for d in devices]
    assert found == case["expected"]


@pytest.mark.parametrize("device", [None, 5, b"cpu", ["cpu"]])
def test_a_device_is_a_string(device):
    with pytest.raises(ConfigError, match="option device"):
        parse_devices(device)


@pytest.mark.parametrize("case", CASES["select"], ids=lambda case: case["device"])
def test_selection(case):
    tried = []

    def probe(device: Device) -> str | None:
        tried.append(device.name)
        return "no such GPU" if device.name in case["broken"] else None

    def select() -> Devices:
        return select_devices(case["device"], available=lambda: case["available"], probe=probe)

    if case["expected"] == "device":
        with pytest.raises(DeviceError) as refused:
            select()
        message = str(refused.value)
        assert refused.value.code == "device" and "Available: " in message and "cpu" in message
        assert "no such GPU" in message or "ExecutionProvider is not in this build of ONNX Runtime" in message
    else:
        assert [device.name for device in select().chosen] == case["expected"]
    assert tried == case["tried"]


@EMBEDDING
@pytest.mark.parametrize("case", CASES["variant"], ids=str)
def test_the_automatic_variant(case, monkeypatch):
    artifact = read_artifact(TINY)
    fp32 = artifact.manifest.variants["fp32"]
    artifact = replace(artifact, manifest=replace(artifact.manifest, variants=dict.fromkeys(case["variants"], fp32)))
    monkeypatch.setattr(cpu, "has_exact_int8", lambda: case["exact_int8"])
    devices = Devices(parse_devices(case["device"]))
    chosen = choose_variant(artifact, "auto", devices)
    if case["expected"] == "variant":
        assert chosen not in artifact.manifest.variants
    else:
        assert chosen == case["expected"]
    assert choose_variant(artifact, "int8", devices) == "int8"


def test_auto_says_which_device_it_takes(caplog):
    caplog.set_level(logging.INFO, LOGGER)
    cuda, processor = "CUDAExecutionProvider", "CPUExecutionProvider"
    select_devices("auto", available=lambda: [processor])
    select_devices("auto", available=lambda: [cuda, processor], probe=lambda device: "no driver")
    select_devices("auto", available=lambda: [cuda, processor], probe=lambda device: None)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "device auto: cpu, because this build of ONNX Runtime has none of cuda, migraphx, directml"),
        ("WARNING", "device auto: cuda cannot be used: no driver"),
        ("WARNING", "device auto: cpu, because no GPU can be used"),
        ("INFO", "device auto: cuda"),
    ]


def test_without_onnx_runtime_auto_is_the_cpu(monkeypatch):
    def missing() -> None:
        raise device_selection.DependencyError("ONNX Runtime is not installed", hint="Install it.")

    monkeypatch.setattr(device_selection, "import_onnxruntime", missing)
    assert select_devices().chosen == (CPU,)
    with pytest.raises(device_selection.DependencyError):
        select_devices("cuda")


def test_a_provider_that_is_not_in_the_library_does_not_become_the_cpu():
    absent = parse_devices("coreml")[0]
    assert "coreml" in str(probe_device(absent)) or "CoreML" in str(probe_device(absent))
    with pytest.raises(DeviceError):
        session.create_session(TINY / "onnx/model.onnx", 1, device=absent)
    assert probe_device(CPU) is None


@EMBEDDING
def test_an_absent_device_is_refused_when_a_model_is_opened():
    with pytest.raises(DeviceError, match=r"device coreml cannot be used: CoreMLExecutionProvider.*Available: .*cpu"):
        Embedder.open(Model(TINY, device="coreml"))
    with pytest.raises(DeviceError, match="device tensorrt:1 cannot be used"):
        OnnxMlBridge.open(Model(TINY, device="cpu,tensorrt:1"))


@EMBEDDING
def test_verify_runs_on_a_device():
    with pytest.raises(DeviceError, match="device coreml cannot be used"):
        verify(TINY, device="coreml")
    assert verify(TINY, device="cpu,cpu").variants.keys() == {"fp32", "int8"}


@EMBEDDING
def test_models_report_their_device_and_providers():
    with OnnxMlBridge.open(Model(TINY, device="cpu")) as bridge:
        assert (bridge.models()[0].device, bridge.models()[0].providers) == ("cpu", {})
        bridge.warm_up()
        assert bridge.models()[0].providers == {"CPUExecutionProvider": None}


@EMBEDDING
def test_several_devices_take_turns(monkeypatch):
    used, create = [], session.create_session

    class Counted:
        def __init__(self, made, number):
            self.made, self.number = made, number

        def run(self, *arguments):
            used.append(self.number)
            return self.made.run(*arguments)

    made = []

    def counted(*arguments, **options):
        made.append(Counted(create(*arguments, **options), len(made)))
        return made[-1]

    monkeypatch.setattr(session, "create_session", counted)
    embedder = Embedder.open(Model(TINY, device="cpu,cpu", variant="fp32"))
    vectors = [embedder.embed(["the cat sings"]).vectors for _ in range(4)]
    assert used == [0, 1, 0, 1] and all(np.array_equal(vectors[0], each) for each in vectors)
    assert embedder.info.device == "cpu,cpu"
    embedder.unload()
    embedder.warm_up()
    assert len(made) == 4


def let_runs_meet(monkeypatch, count):
    """Let each run wait for `count - 1` others: with fewer runs at a time, they would wait in vain."""
    together, run = threading.Barrier(count), session.GraphSession.run

    def meet(self, *arguments):
        together.wait(timeout=20)
        return run(self, *arguments)

    monkeypatch.setattr(session.GraphSession, "run", meet)


@EMBEDDING
def test_several_devices_run_at_the_same_time(monkeypatch):
    let_runs_meet(monkeypatch, 2)
    embedder = Embedder.open(Model(TINY, device="cpu,cpu", variant="fp32", run_tokens=8))
    assert len(embedder.embed(["the cat sings"] * 4).vectors) == 4


@pytest.mark.families("summarization")
def test_as_many_searches_run_at_the_same_time_as_there_are_devices(monkeypatch):
    """Searches that share a session on the CPU are two at most."""
    let_runs_meet(monkeypatch, 3)
    summarizer = Summarizer.open(Model(VALID / "tiny-summary", device="cpu,cpu,cpu", variant="fp32", run_tokens=1))
    options = SummarizeOptions(num_beams=1, min_length=0, max_length=4)
    assert len(summarizer.summarize([["the cat sings"]] * 3, options)) == 3


def test_turns_are_counted_across_threads():
    class Echo:
        def __init__(self, name):
            self.name = name

        def run(self, outputs, feeds, options=None):
            return self.name

    sessions = SessionsInTurn([Echo("a"), Echo("b"), Echo("c")])
    assert [sessions.run(None, {}) for _ in range(4)] == ["a", "b", "c", "a"]


def test_nodes_of_several_graphs_and_devices_are_added():
    devices = Devices(parse_devices("cuda:0,cuda:1"))
    first, second = devices.chosen
    assert devices.providers() == {}
    devices.record("a.onnx", first, {"CUDAExecutionProvider": 5, "CPUExecutionProvider": 1})
    devices.record("a.onnx", second, {"CUDAExecutionProvider": 5})
    devices.record("b.onnx", first, {"CUDAExecutionProvider": 2})
    devices.record("a.onnx", second, {"CUDAExecutionProvider": 6})
    assert devices.providers() == {"CUDAExecutionProvider": 13, "CPUExecutionProvider": 1}
    devices.record("c.onnx", CPU, {"CPUExecutionProvider": None})
    assert devices.providers()["CPUExecutionProvider"] is None


def test_a_node_of_a_loop_counts_once():
    def event(name, provider, cat="Node"):
        return {"cat": cat, "name": name, "args": {"provider": provider} if provider else {}}

    events = [
        event("MatMul_1_kernel_time", "X"),
        event("MatMul_1_kernel_time", "X"),
        event("MatMul_2_kernel_time", "X"),
        event("MatMul_2_fence_before", "X"),
        event("Add_1_kernel_time", "CPUExecutionProvider"),
        event("session_run", None, "Session"),
    ]
    assert count_events(events) == {"CPUExecutionProvider": 1, "X": 2}


@EMBEDDING
def test_a_profiled_session_counts_its_nodes_and_leaves_no_file(monkeypatch, tmp_path):
    """The CPU's provider under another name stands in for a GPU."""
    monkeypatch.setattr(Device, "is_cpu", property(lambda self: False))
    monkeypatch.setattr(Device, "providers", lambda self: ["CPUExecutionProvider"])
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    created, nodes = session.create_device_session(TINY / "onnx/model.onnx", 1, CPU)
    assert list(nodes) == ["CPUExecutionProvider"] and 50 < nodes["CPUExecutionProvider"] < 150
    assert list(tmp_path.iterdir()) == []
    ids = np.array([[2, 5, 3]])
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    assert np.isfinite(created.run(["sentence_embedding"], feeds)[0]).all() and list(tmp_path.iterdir()) == []


@EMBEDDING
def test_a_failed_count_leaves_a_usable_session(monkeypatch, caplog):
    monkeypatch.setattr(Device, "is_cpu", property(lambda self: False))
    monkeypatch.setattr(Device, "providers", lambda self: ["CPUExecutionProvider"])
    monkeypatch.setattr("onnx_ml_bridge.runtime.provider_report._short_input", lambda value: np.ones([0], np.int8))
    created, nodes = session.create_device_session(TINY / "onnx/model.onnx", 1, CPU)
    assert nodes == {} and "counts the nodes" in caplog.text
    ids = np.array([[2, 5, 3]])
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    assert np.isfinite(created.run(["sentence_embedding"], feeds)[0]).all()

"""Sessions give the memory of large runs back, work beside a global thread pool, and let the process end."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from examples import VALID
from onnx import TensorProto, helper
from onnx_ml_bridge.runtime.session import GraphSession

SCRIPT = """
import gc, json, sys
from pathlib import Path
import numpy as np
from onnx_ml_bridge.runtime.session import GraphSession

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

def run(session, rows):
    return session.run(["sums"], {"x": np.ones((rows, 16), np.float32)})[0]

shrink_above = json.loads(sys.argv[2])
session = GraphSession(Path(sys.argv[1]), 1, shrink_above=shrink_above)
run(session, 4)
loaded = resident()
large = run(session, 8000)
run(session, 4)
kept = resident()
session.unload()
del session
gc.collect()
print(json.dumps([loaded, kept, resident(), float(large[0])]))
"""


def scores(folder: Path) -> Path:
    """Write a graph whose activations are the products of all pairs of rows, as in attention: 256 MB for 8,000 rows."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"]),
        helper.make_node("MatMul", ["x", "t"], ["scores"]),
        helper.make_node("ReduceSum", ["scores", "axes"], ["sums"], keepdims=0),
    ]
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 16])]
    outputs = [helper.make_tensor_value_info("sums", TensorProto.FLOAT, ["rows"])]
    graph = helper.make_graph(nodes, "scores", inputs, outputs, [axes])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), folder / "x.onnx")
    return folder / "x.onnx"


@pytest.mark.skipif(sys.platform != "linux", reason="the memory is read from /proc")
def test_the_memory_of_a_large_run_goes_back_to_the_system(tmp_path):
    path = scores(tmp_path)

    def measured(shrink_above: str) -> list[float]:
        line = [sys.executable, "-c", SCRIPT, str(path), shrink_above]
        done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=120)
        return [float(number) for number in done.stdout.strip("[] \n").split(",")]

    loaded, kept, _, value = measured("512")
    assert value == 16 * 8000 and kept <= 1.2 * loaded
    loaded, kept, unloaded, _ = measured("null")
    assert kept > loaded + 200_000_000, "without shrinking, the arena keeps the memory"
    assert unloaded <= 1.2 * loaded, "an output keeps the memory of the arena"


def test_only_large_runs_shrink_the_arena(tmp_path, monkeypatch):
    session, run, seen = GraphSession(scores(tmp_path), 1, shrink_above=64), onnxruntime.InferenceSession.run, []

    def spying(inner, outputs, feeds, options):
        try:
            seen.append(options.get_run_config_entry("memory.enable_memory_arena_shrinkage"))
        except RuntimeError:  # it has no such entry
            seen.append(None)
        return run(inner, outputs, feeds, options)

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", spying)
    for rows in (4, 5):
        session.run(["sums"], {"x": np.ones((rows, 16), np.float32)})
    assert seen == [None, "cpu:0"]


def test_outputs_own_their_memory(tmp_path):
    (sums,) = GraphSession(scores(tmp_path), 1).run(["sums"], {"x": np.ones((3, 16), np.float32)})
    assert sums.base is None and sums.flags.owndata


def test_a_session_beside_a_global_thread_pool_uses_it_and_prints_nothing():
    code = (
        "import logging, sys, onnxruntime; onnxruntime.set_global_thread_pool_sizes(2, 1)\n"
        "logging.basicConfig(level=logging.INFO, stream=sys.stderr)\n"
        "from onnx_ml_bridge import BridgeOptions, Embedder, Model\n"
        "embedder = Embedder.open(Model(sys.argv[1], workers=2), BridgeOptions(threads=2))\n"
        "assert embedder.embed(['a cat'] * 300).vectors.shape == (300, 16), 'with runs at the same time'\n"
    )
    line = [sys.executable, "-c", code, str(VALID / "tiny-embedding")]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "" and "global thread pool" in done.stderr


@pytest.mark.parametrize("threads", [1, 2])
def test_a_process_ends_normally_while_daemon_threads_run_graphs(tmp_path, threads):
    """Python stops daemon threads at its end, and one that is stopped inside of ONNX Runtime aborts the process."""
    code = (
        "import sys, threading, time; sys.path[:0] = sys.argv[2:]\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from onnx_ml_bridge.runtime.cancellation import Watch\n"
        "from onnx_ml_bridge.runtime.lane import Lane\n"
        "from onnx_ml_bridge.runtime.lane_call import Run\n"
        "from onnx_ml_bridge.runtime.session import GraphSession\n"
        f"session, lane = GraphSession(Path(sys.argv[1]), {threads}), Lane(workers={threads})\n"
        "feeds = {'x': np.ones((4000, 16), np.float32)}\n"
        "work = lambda rows, stop: session.run(['sums'], feeds, stop)\n"
        "def call():\n"
        "    while True:\n"
        "        with Watch() as watch, lane.call(watch) as admitted:\n"
        "            list(admitted.run([Run([0], work)], is_last=True))\n"
        "for _ in range(4): threading.Thread(target=call, daemon=True).start()\n"
        "while not lane._threads or not lane._queue.turns: time.sleep(0.001)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(scores(tmp_path))], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

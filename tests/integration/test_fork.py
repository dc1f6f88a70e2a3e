"""Models that were loaded before a fork, as servers with preloading do, answer in the child processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from examples import VALID
from onnx import TensorProto, helper, numpy_helper
from onnx_ml_bridge.runtime.cancellation import CancelToken
from onnx_ml_bridge.runtime.session import GraphSession

SCRIPT = Path(__file__).parents[1] / "support" / "forked_calls.py"
ARTIFACTS = sorted(folder.name for folder in VALID.iterdir() if folder.is_dir())

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")


@pytest.mark.parametrize("parallelism", ["true", ""])
@pytest.mark.parametrize("name", ARTIFACTS)
def test_children_answer_while_threads_of_the_parent_use_the_model(name, parallelism):
    environment = os.environ | {"TOKENIZERS_PARALLELISM": parallelism}
    line = [sys.executable, str(SCRIPT), str(VALID / name)]
    done = subprocess.run(line, env=environment, capture_output=True, timeout=500, check=True)
    assert json.loads(done.stdout) == {"children": [0] * 4, "parent": True}


def products(folder: Path) -> GraphSession:
    """Return a session with products that are large enough for ONNX Runtime to divide them among threads."""
    weight = numpy_helper.from_array(np.eye(1024, dtype=np.float32), "weight")
    nodes = [helper.make_node("MatMul", ["x", "weight"], ["y"])]
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 1024]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "products", tensors[:1], tensors[1:], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), folder / "x.onnx")
    return GraphSession(folder / "x.onnx", threads=4)


def test_a_child_loads_a_graph_again_and_exits(tmp_path):
    session, rows = products(tmp_path), np.ones((512, 1024), np.float32)
    assert session.run(["y"], {"x": rows})[0].all()
    # Forked in another process, because the child ends like a program does: with destructors, which must not wait
    code = (
        "import os, sys, pathlib; sys.path[:0] = sys.argv[2:]\n"
        "import numpy as np\n"
        "from test_fork import products\n"
        "session, rows = products(pathlib.Path(sys.argv[1])), np.ones((512, 1024), np.float32)\n"
        "session.run(['y'], {'x': rows})\n"
        "if not os.fork(): sys.exit(0 if session.run(['y'], {'x': rows})[0].all() else 3)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))\n"
    )
    paths = [str(Path(__file__).parent), str(SCRIPT.parent)]
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path), *paths], timeout=60, check=False).returncode == 0


def test_a_lock_that_was_held_during_the_fork_is_free_in_the_child(tmp_path):
    session, token = products(tmp_path), CancelToken()
    with session._lock, token._lock:
        child = os.fork()
        if not child:
            try:
                session.load()
                token.cancel()
                os._exit(0)
            finally:
                os._exit(4)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

"""What running a model imports."""

import subprocess
import sys

from examples import VALID

TINY = VALID / "tiny-embedding"


def test_the_runtime_imports_nothing_heavy():
    code = f"""
import sys
from onnx_ml_bridge import OnnxMlBridge, verify
OnnxMlBridge.open(embedding={str(TINY)!r}).generate_embedding("the cat")
import onnx_ml_bridge.cli.main
heavy = {{"torch", "transformers", "onnx", "sentence_transformers", "spacy", "onnxscript", "onnx_ir", "scipy"}}
print(sorted(heavy & {{name.partition(".")[0] for name in sys.modules}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

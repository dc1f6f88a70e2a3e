"""Running a model imports no modules of other families and no heavy libraries, such as torch."""

import subprocess
import sys

import pytest
from examples import examples

CODE = """
import sys
from pathlib import Path
from onnx_ml_bridge.artifacts.families import FAMILIES
from onnx_ml_bridge.runtime.loading import open_artifact, runtime_of
from onnx_ml_bridge import BridgeOptions
name, folder = sys.argv[1:]
opened = open_artifact(folder)
model = runtime_of(opened.artifact.family).open_model(opened, BridgeOptions())
model.warm_up()
stages = [f"onnx_ml_bridge.runtime.{family.name}" for family in FAMILIES if family.name != name]
print([module for module in stages if module in sys.modules])
import onnx_ml_bridge.cli.main
heavy = {"torch", "transformers", "onnx", "sentence_transformers", "spacy", "onnxscript", "onnx_ir", "scipy"}
print(sorted(heavy & {module.partition(".")[0] for module in sys.modules}))
"""


@pytest.mark.parametrize(("family", "folder"), examples().items(), ids=[family.name for family in examples()])
def test_a_model_runs_without_other_families_and_without_heavy_libraries(family, folder):
    done = subprocess.run([sys.executable, "-c", CODE, family.name, folder], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[]"]

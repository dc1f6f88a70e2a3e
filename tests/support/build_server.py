"""Builds the model of the toy family in forks of one process that has imported all libraries.

Run as `python build_server.py FOLDER`. For each line with a version on its standard input it forks; the fork stops
itself, so that a tracer can attach, and then builds `FOLDER/out/toy`. The answers are the number of the fork, and when
it has ended its exit status, negative for a signal. `FOLDER/error` has the code and the message of a failed build.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from onnx_ml_bridge.artifacts.families import FAMILIES
from onnx_ml_bridge.cli.build import build_all
from onnx_ml_bridge.cli.config import ModelConfig, read_models
from toy_family.artifacts.families.readability import READABILITY
from toy_family.export import readability
from toy_family.recipe import save_model

_FAMILIES = (*FAMILIES, READABILITY)
_MODEL = """
[[model]]
name = "toy"
version = "%s"
task = "readability"
source = "path:model"
variants = ["fp32"]
options = { best = 2.5 }
"""


def _model(folder: Path, version: str) -> ModelConfig:
    file = folder / "models.toml"
    file.write_text(_MODEL % version, encoding="utf-8")
    (model,) = read_models(file, _FAMILIES)
    return model


def _build(folder: Path, version: str) -> int:
    """Build a version, and return an exit status."""
    (built,) = build_all([_model(folder, version)], folder / "out", lambda _: lambda stage: None, families=_FAMILIES)
    if built.error is not None:
        (folder / "error").write_text("error[{code}]: {message}".format(**built.error), encoding="utf-8")
    return 0 if built.error is None else 1


def _trace_once() -> None:
    """Keep the traced graph: tracing takes most of the time of a build and changes no file."""
    trace, traced = readability.export_module, []

    def export_module(*arguments: Any) -> ir.Model:
        if not traced:
            traced.append(ir.to_proto(trace(*arguments)))
        return ir.from_proto(traced[0])

    readability.export_module = export_module


def main() -> None:
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    save_model(folder / "model")
    _trace_once()
    assert _build(folder, "0.0.1") == 0
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGSTOP)
            os._exit(_build(folder, line.strip()))
        os.waitpid(child, os.WUNTRACED)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()

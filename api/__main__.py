"""Run the command `onnx-ml-bridge` with `python -m onnx_ml_bridge`."""

from .cli.main import run

run()

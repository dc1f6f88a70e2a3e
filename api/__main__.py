"""`python -m onnx_ml_bridge` is the command `onnx-ml-bridge`."""

from .cli.main import run

run()

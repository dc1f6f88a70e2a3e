"""The command `onnx-ml-bridge`: one file per group of commands, `build.py` conducts the stages."""

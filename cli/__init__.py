"""The command `onnx-ml-bridge`: one module per group of subcommands; `build.py` runs the stages of a build."""

"""ONNX graphs: building, editing, saving and describing them. Shared by the stages export and quantize."""

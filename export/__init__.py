"""Exports original models into a staging folder: fp32 ONNX graphs, tokenizer and configuration files."""

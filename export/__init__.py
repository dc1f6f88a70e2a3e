"""From an original model to a staging folder: fp32 ONNX graphs, tokenizer and configuration files."""

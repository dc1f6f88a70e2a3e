"""spaCy's entity recognizer to ONNX graphs, portable tokenizer rules and tables."""

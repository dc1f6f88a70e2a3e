"""Export of spaCy's entity recognizer: ONNX graphs, portable tokenizer rules and tables."""

"""Recognize named entities with an exported spaCy pipeline, without spaCy: rules, tables and ONNX graphs."""

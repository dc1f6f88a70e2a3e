"""Run artifacts with ONNX Runtime and tokenizers; this package never imports torch, transformers or spaCy."""

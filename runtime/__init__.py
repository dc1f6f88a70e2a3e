"""Runs artifacts with ONNX Runtime and tokenizers alone: nothing of torch, transformers or spaCy is imported here."""

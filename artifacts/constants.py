"""Names and versions of the format, in one place; FORMAT.md says how to change them."""

from __future__ import annotations

FORMAT_VERSION = 1
TRANSFORMERS, SPACY = "transformers", "spacy"
# The exact variant: int8 is made from it and held against it
EXACT = "fp32"
# The distributions that decide the bytes of graphs and tokenizers of transformers
TOKENIZER_BUILDERS = ("onnxscript", "tokenizers", "torch", "transformers")

MANIFEST = "manifest.json"
MANIFEST_HASH = "manifest.sha256"
GOLDEN = "golden.jsonl"
PARITY = "parity.json"
MODEL_CARD = "README.md"
TOKENIZER = "tokenizer.json"
SPACY_RULES = "spacy_tokenizer.json"
SPACY_TABLES = "tables.safetensors"

MAX_MANIFEST_BYTES = 1 << 20
MAX_FILES = 1000
MAX_DEPTH = 16
MAX_JSON_DEPTH = 32
MAX_JSON_NUMBER = 2**53


def graph_file(stem: str, variant: str) -> str:
    """Path of a variant's graph: `onnx/model.onnx` for fp32, `onnx/model_int8.onnx` for int8."""
    return f"onnx/{stem}.onnx" if variant == "fp32" else f"onnx/{stem}_{variant}.onnx"


def data_file(graph: str) -> str:
    """Path of the weights that `graph` keeps outside its protobuf."""
    return f"{graph}_data"

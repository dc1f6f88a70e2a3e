"""File names, limits and the version of the artifact format; see the section Versions of FORMAT.md."""

from __future__ import annotations

FORMAT_VERSION = 1
TRANSFORMERS, SPACY = "transformers", "spacy"
# The name of the variant that reproduces the original; the other variants are derived from this variant
EXACT = "fp32"
# The name of the variant for GPUs
FP16 = "fp16"
# Python distributions whose versions determine the bytes of the files exported from transformers models
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
    """Return the path of a variant's graph: `onnx/model.onnx` for fp32, `onnx/model_int8.onnx` for int8."""
    return f"onnx/{stem}.onnx" if variant == "fp32" else f"onnx/{stem}_{variant}.onnx"


def data_file(graph: str) -> str:
    """Return the path of the external tensor data of the graph at path `graph`."""
    return f"{graph}_data"

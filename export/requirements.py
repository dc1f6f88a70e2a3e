"""Checks that the packages of an extra are installed; the error names the command that installs them."""

from __future__ import annotations

import importlib.util

from ..artifacts.errors import DependencyError

_EXTRAS = {
    "export": (
        "torch",
        "transformers",
        "sentence_transformers",
        "sentencepiece",
        "onnx",
        "onnxscript",
        "onnx_ir",
        "pydantic",
        "huggingface_hub",
        "matplotlib",
        "jinja2",
    ),
    "spacy": ("spacy", "thinc"),
}


def require_extra(extra: str) -> None:
    """Raise `DependencyError` naming every module of the extra that is not installed."""
    missing = [module for module in _EXTRAS[extra] if importlib.util.find_spec(module) is None]
    if missing:
        raise DependencyError(
            f"not installed: {', '.join(missing)}", hint=f"Run: pip install 'onnx-ml-bridge[{extra},cpu]'"
        )

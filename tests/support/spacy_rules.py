"""The tokenizer rules of spaCy's languages, as in an artifact, and strings to test them with."""

from __future__ import annotations

import pkgutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import spacy
import spacy.lang
from onnx_ml_bridge.artifacts import strict_json
from onnx_ml_bridge.export.spacy_ner.rules import describe_rules
from onnx_ml_bridge.parity.adversarial import adversarial_texts
from onnx_ml_bridge.runtime.spacy_ner.rules import Rules, read_rules
from spacy.language import Language

# Languages that are not supported: their tokenizers are code or need a library, or their prefix rules match in the
# middle of a word.
_NOT_PORTABLE = frozenset({"id", "ja", "ko", "ms", "th", "vi", "zh"})
LANGUAGES = tuple(
    each.name for each in pkgutil.iter_modules(spacy.lang.__path__) if each.ispkg and each.name not in _NOT_PORTABLE
)


@cache
def empty_pipeline(language: str) -> Language:
    """Return a pipeline without components. It is shared by all tests and must not be modified."""
    return spacy.blank(language)


@cache
def described(language: str) -> dict[str, Any]:
    """Return the content of spacy_tokenizer.json for a language. It is shared and must not be modified."""
    return describe_rules(empty_pipeline(language))


@cache
def rules_of(language: str) -> Rules:
    """Return the rules of a language as the runtime reads them."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rules.json"
        path.write_bytes(strict_json.canonical_line(described(language)))
        return read_rules(path)


@cache
def odd_chunks(language: str, texts: int = 100) -> tuple[str, ...]:
    """Return strings to tokenize: words of adversarial texts, and special cases with and without punctuation."""
    words = {word for text in adversarial_texts("en", texts, 11) for word in text.split() if len(word) < 300}
    specials = sorted(empty_pipeline(language).tokenizer.rules)
    some = specials[:: max(1, len(specials) // 30)]
    return (*sorted(words), *some, *(f"“{chunk}”," for chunk in some), *(f"({chunk.upper()}…" for chunk in some))

"""Manifest bytes made of the manifest of tiny-summary, each with the code that readers must give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from manifest_ner import Cases, Change, made_cases, roles


def summary_manifests(manifest: dict[str, Any]) -> Cases:
    """Summaries: a section of their own beside the tokenizer, and no other."""
    refused: dict[str, Change] = {
        "section-missing": lambda m: m.pop("summarization"),
        "section-null": lambda m: m.update(summarization=None),
        "tokenizer-missing": lambda m: m.pop("tokenizer"),
        "embedding-null": lambda m: m.update(embedding=None),
        "engine-spacy": lambda m: m.update(engine="spacy"),
        "task-ner": lambda m: m.update(task="ner"),
        "role-of-embeddings": lambda m: roles(m).update(encoder=roles(m).pop("generate")),
        "role-twice": lambda m: roles(m).update(encoder=roles(m)["generate"]),
        "join-null": lambda m: m["summarization"].update(join=None),
        "eos-negative": lambda m: m["summarization"].update(eos_token_id=-1),
        "key-unknown": lambda m: m["summarization"].update(prefix="summarize: "),
        "max-length-beyond-positions": defaults(max_length=1 << 20),
        "max-length-one": defaults(max_length=1),
        "min-length-beyond-max-length": defaults(min_length=50, max_length=20),
        "beams-zero": defaults(num_beams=0),
        "beams-as-float": defaults(num_beams=4.0),
        "penalty-as-text": defaults(length_penalty="1"),
        "early-stopping-null": fixed(early_stopping=None),
        "early-stopping-always": fixed(early_stopping="always"),
        "ngram-negative": fixed(no_repeat_ngram_size=-1),
        "forced-as-list": fixed(forced_eos_token_id=[2]),
    }
    allowed: dict[str, Change] = {
        "valid": lambda m: None,
        "early-stopping-false": fixed(early_stopping=False),
        "early-stopping-never": fixed(early_stopping="never"),
        "nothing-forced": fixed(forced_bos_token_id=None, forced_eos_token_id=None),
        "penalty-negative": defaults(length_penalty=-1.5),
        "penalty-whole": defaults(length_penalty=2),
        "lengths-equal": defaults(min_length=20, max_length=20),
    }
    return made_cases("summary", manifest, refused, allowed)


def defaults(**changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda manifest: manifest["summarization"]["defaults"].update(changes)


def fixed(**changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda manifest: manifest["summarization"]["fixed"].update(changes)

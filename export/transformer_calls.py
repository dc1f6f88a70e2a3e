"""Checks that the module Transformer of sentence-transformers calls its tokenizer with the tokenizer's own settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_FILE = "sentence_bert_config.json"
# The arguments of the call that texts are read with; `max_length` may repeat the tokenizer's limit
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "add_special_tokens": (True,),
    "padding": (True, "longest"),
    "return_tensors": ("pt",),
    "truncation": (True, "longest_first"),
}
# Arguments that reach no tokenizer of texts
_UNUSED = ("logits_to_keep",)


def call_problems(transformer: Any) -> list[str]:
    """Return the settings of a module with a fast tokenizer that change its tokens, each as `name = value`."""
    limits = (None, transformer.tokenizer.model_max_length)
    lengths = {name: getattr(transformer, name) for name in ("query_length", "document_length")}
    problems = [f"{name} = {value!r} in {_FILE}" for name, value in lengths.items() if value not in limits]
    given = transformer.processing_kwargs
    for part in ("common", "text"):  # other parts are for other modalities
        arguments = given.get(part) or {} if isinstance(given, dict) else given
        if not isinstance(arguments, dict):
            return [*problems, f"processing_kwargs = {given!r} in {_FILE}"]
        accepted = {**_NEUTRAL, "max_length": limits}
        used = {name: value for name, value in arguments.items() if name not in _UNUSED}
        changed = [name for name, value in used.items() if value not in accepted.get(name, ())]
        problems += [f"processing_kwargs.{part}.{name} = {used[name]!r} in {_FILE}" for name in changed]
    if getattr(transformer.tokenizer, "split_special_tokens", False):
        problems.append("a tokenizer with split_special_tokens, which tokenizer.json cannot express")
    return problems

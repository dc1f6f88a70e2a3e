"""The prompts of a pipeline of sentence-transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...artifacts.errors import BuildError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def checked_prompts(pipeline: SentenceTransformer) -> dict[str, str]:
    """Return the prompts by name, sorted; those that are null are left out.

    :raises BuildError: with the code `source` for a name or a text that is not a string, or an empty name.
    """
    prompts: dict[str, str] = {}
    for name, text in pipeline.prompts.items():
        if text is None:
            continue
        if not _is_text(name) or not name or not _is_text(text):
            expected = "prompts of config_sentence_transformers.json: texts by name"
            raise BuildError("source", expected, actual=f"{name!r}: {text!r}")
        prompts[name] = text
    return dict(sorted(prompts.items()))


def _is_text(value: object) -> bool:
    """Return whether a value is a string that UTF-8 can encode."""
    try:
        return isinstance(value, str) and bool(value.encode() or True)
    except UnicodeEncodeError:
        return False

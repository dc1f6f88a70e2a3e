"""Load spaCy pipelines: all components, or only those that `ner` needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .contenders import Unavailable


def load_pipeline(model: str, exclude: Sequence[str] = ()) -> Any:
    """Load the pipeline of an installed package or of a folder; the excluded components are not loaded.

    :raises Unavailable: if there is no such model.
    """
    import spacy

    try:
        return spacy.load(model, exclude=list(exclude))
    except OSError as error:
        raise Unavailable(f"spaCy has no model {model!r}: {error}") from error


def all_but_ner(model: str) -> tuple[str, ...]:
    """Return the components that `ner` does not need: all except itself and a tok2vec that it listens to."""
    pipeline = load_pipeline(model)
    feeds = {name for name, pipe in pipeline.components if "ner" in getattr(pipe, "listening_components", ())}
    return tuple(name for name in pipeline.component_names if name != "ner" and name not in feeds)

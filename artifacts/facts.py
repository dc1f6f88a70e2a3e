"""What people read of an artifact first, in the model card, in the report and on the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .manifest_sections import SpacySpec, SummarizationSpec, TokenClassificationSpec, TokenizerSpec

# Figures of parity by their name in the manifest: title and format. Every task has figures of its own.
_HEADLINES = {
    "max_abs": ("max abs", ".1e"),
    "cosine_min": ("cosine min", ".5f"),
    "cosine_mean": ("cosine mean", ".5f"),
    "differing": ("differing", ".0f"),
    "entity_f1": ("entity F1", ".5f"),
    "score_max_abs": ("score max abs", ".1e"),
    "ties": ("ties", ".0f"),
    "rouge_l": ("ROUGE-L", ".4f"),
    "sealed_same": ("sealed same", ".4f"),
    "rouge_l_reference": ("ROUGE-L, references", ".4f"),
}


def headlines(variants: Iterable[Mapping[str, float | None]]) -> dict[str, str]:
    """Names and titles of the headline figures that any of the variants has, in their order."""
    found = {name for figures in variants for name, value in figures.items() if value is not None}
    return {name: title for name, (title, _) in _HEADLINES.items() if name in found}


def headline(figures: Mapping[str, float | None], name: str) -> str:
    """A headline figure as it is written; empty where there is none."""
    value = figures.get(name)
    return "" if value is None else format(value, _HEADLINES[name][1])


def headline_row(figures: Mapping[str, float | None]) -> str:
    """All headline figures of one variant in one line: `differing 0, entity F1 1.00000`."""
    return ", ".join(f"{title} {headline(figures, name)}" for name, title in headlines([figures]).items())


# What an artifact of a spaCy pipeline reproduces, by `spacy.sentences`.
_REFERENCES = {
    "none": "the component ner alone: each text is one sentence",
    "parser": "the whole pipeline: sentences are those of its parser",
    "given": "the pipeline with sentences that each call gives as sentence_starts",
}


def ner_facts(
    *, tokenizer: TokenizerSpec | None, token_classification: TokenClassificationSpec | None, spacy: SpacySpec | None
) -> dict[str, str]:
    """What a named entity artifact finds and how, by title; takes the sections of the manifest that it has."""
    facts = {}
    if spacy is not None:
        facts = {
            "labels": ", ".join(spacy.labels),
            "language": spacy.language,
            "reproduces": _REFERENCES[spacy.sentences],
            "long texts": "read whole, in parts",
        }
    if token_classification is not None:
        facts = {
            "labels": ", ".join(entity_labels(token_classification)),
            "language": token_classification.language or "not named by its source",
            "aggregation strategy": token_classification.aggregation_strategy,
        }
    if token_classification is not None and tokenizer is not None:
        stride = token_classification.stride
        facts["long texts"] = (
            f"cut to {tokenizer.max_tokens} tokens on the {tokenizer.truncation_side}, unless a stride is given"
            if stride is None
            else f"read whole, in windows of {tokenizer.max_tokens} tokens that share {stride}"
        )
    return facts


def summary_facts(tokenizer: TokenizerSpec, spec: SummarizationSpec) -> dict[str, str]:
    """How a summarization artifact searches and what it reads, by title."""
    defaults, fixed = spec.defaults, spec.fixed
    stops = {True: "true: as soon as all beams have ended", False: "false", "never": "never"}[fixed.early_stopping]
    repeats = fixed.no_repeat_ngram_size
    return {
        "search": f"{defaults.num_beams} beams, {defaults.min_length} to {defaults.max_length} tokens, length penalty "
        f"{defaults.length_penalty:g}; each call may choose, up to {spec.max_target_tokens} tokens",
        "fixed": f"early stopping {stops}; {f'no {repeats} tokens in a row twice' if repeats else 'repeats allowed'}",
        "long inputs": f"cut to {tokenizer.max_tokens} tokens on the {tokenizer.truncation_side}, unless a call asks "
        "for parts that are summarized in turn",
    }


def entity_labels(spec: TokenClassificationSpec) -> list[str]:
    """The labels that entities of a token classifier can have, each once, as its strategy gives them."""
    is_grouped = spec.aggregation_strategy != "none"
    labels = [label.split("-", 1)[-1] if is_grouped else label for label in spec.labels]
    return [label for label in dict.fromkeys(labels) if label not in spec.ignore_labels]

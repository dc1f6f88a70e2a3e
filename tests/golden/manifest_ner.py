"""Manifest bytes made of the manifests of tiny-ner and tiny-spacy, each with the code that readers must give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from corrupting import changed_manifest
from onnx_ml_bridge.artifacts.strict_json import canonical

Change = Callable[[dict[str, Any]], object]
Cases = dict[str, tuple[str | None, bytes]]


def token_classifier_manifests(manifest: dict[str, Any]) -> Cases:
    """Token classification: a section of its own beside the tokenizer, and no other."""
    section = manifest["token_classification"]
    refused: dict[str, Change] = {
        "section-missing": lambda m: m.pop("token_classification"),
        "section-null": lambda m: m.update(token_classification=None),
        "tokenizer-missing": lambda m: m.pop("tokenizer"),
        "embedding-null": lambda m: m.update(embedding=None),
        "spacy-null": lambda m: m.update(spacy=None),
        "engine-unknown": lambda m: m.update(engine="flair"),
        "engine-spacy": lambda m: m.update(engine="spacy"),
        "task-embedding": lambda m: m.update(task="sentence-embedding"),
        "labels-empty": lambda m: m["token_classification"].update(labels=[]),
        "label-as-number": lambda m: m["token_classification"].update(labels=[0, 1]),
        "strategy-unknown": lambda m: m["token_classification"].update(aggregation_strategy="best"),
        "strategy-null": lambda m: m["token_classification"].update(aggregation_strategy=None),
        "stride-negative": lambda m: m["token_classification"].update(stride=-1),
        "stride-as-float": lambda m: m["token_classification"].update(stride=1.0),
        "subwords-unknown": lambda m: m["token_classification"].update(subwords="sometimes"),
        "unknown-token-negative": lambda m: m["token_classification"].update(unk_token_id=-1),
        "key-missing": lambda m: m["token_classification"].pop("language"),
        "key-unknown": lambda m: m["token_classification"].update(threshold=0.5),
        "role-of-spacy": lambda m: roles(m).update(spacy_ner=roles(m).pop("token_classifier")),
        "role-twice": lambda m: roles(m).update(encoder=roles(m)["token_classifier"]),
    }
    allowed: dict[str, Change] = {
        "valid": lambda m: None,
        "language-null": lambda m: m["token_classification"].update(language=None),
        "stride-zero": lambda m: m["token_classification"].update(stride=0),
        "ignore-nothing": lambda m: m["token_classification"].update(ignore_labels=[]),
        "no-unknown-token": lambda m: m["token_classification"].update(unk_token_id=None),
        "labels-twice": lambda m: m["token_classification"].update(labels=[*section["labels"], section["labels"][-1]]),
    }
    return made_cases("ner", manifest, refused, allowed)


def spacy_manifests(manifest: dict[str, Any]) -> Cases:
    """A spaCy pipeline, with its parser: no tokenizer, and files of rules and tables."""
    refused: dict[str, Change] = {
        "section-missing": lambda m: m.pop("spacy"),
        "section-null": lambda m: m.update(spacy=None),
        "tokenizer-null": lambda m: m.update(tokenizer=None),
        "token-classification-null": lambda m: m.update(token_classification=None),
        "engine-transformers": lambda m: m.update(engine="transformers"),
        "task-embedding": lambda m: m.update(task="sentence-embedding"),
        "rules-not-listed": lambda m: m["spacy"].update(rules="other.json"),
        "tables-not-listed": lambda m: m["spacy"].update(tables="other.safetensors"),
        "rules-outside": lambda m: m["spacy"].update(rules="../spacy_tokenizer.json"),
        "labels-empty": lambda m: m["spacy"].update(labels=[]),
        "labels-twice": lambda m: m["spacy"].update(labels=["A", "A"]),
        "label-empty": lambda m: m["spacy"].update(labels=[""]),
        "language-empty": lambda m: m["spacy"].update(language=""),
        "sentences-unknown": lambda m: m["spacy"].update(sentences="senter"),
        "sentences-null": lambda m: m["spacy"].update(sentences=None),
        "parser-missing": lambda m: m["spacy"].pop("parser"),
        "parser-null": lambda m: m["spacy"].update(parser=None),
        "types-graph-missing": lambda m: roles(m).pop("spacy_ner_types"),
        "parser-graph-missing": lambda m: roles(m).pop("spacy_parser"),
        "parser-types-graph-missing": lambda m: roles(m).pop("spacy_parser_types"),
        "parser-not-wanted": lambda m: m["spacy"].update(sentences="given"),
        "parser-graph-not-wanted": lambda m: m["spacy"].update(sentences="none", parser=None),
        "parser-types-graph-not-wanted": lambda m: (
            without_parser(m, "none"),
            roles(m).update(spacy_parser_types=roles(m)["spacy_ner_types"]),
        ),
        "ner-null": lambda m: m["spacy"].update(ner=None),
        "attribute-unknown": lambda m: column(m).update(attribute="LEMMA"),
        "columns-empty": lambda m: m["spacy"]["ner"].update(columns=[]),
        "rows-zero": lambda m: column(m).update(rows=0),
        "rows-too-many": lambda m: column(m).update(rows=2**31),
        "seed-negative": lambda m: column(m).update(seed=-1),
        "seed-too-large": lambda m: column(m).update(seed=2**32),
        "seed-as-float": lambda m: column(m).update(seed=8.0),
        "context-too-large": lambda m: m["spacy"]["ner"].update(context=65),
        "hidden-zero": lambda m: m["spacy"]["ner"].update(hidden=0),
        "vectors-as-number": lambda m: m["spacy"]["ner"].update(vectors=1),
        "tie-unknown": lambda m: m["spacy"]["ner"].update(tie="first"),
        "tie-of-the-parser": lambda m: m["spacy"]["parser"].update(tie="in"),
        "move-unknown": lambda m: m["spacy"]["parser"]["moves"].append("X-det"),
        "move-without-label": lambda m: m["spacy"]["parser"]["moves"].append("L-"),
        "move-twice": lambda m: m["spacy"]["parser"]["moves"].append("S"),
        "moves-empty": lambda m: m["spacy"]["parser"].update(moves=[]),
    }
    allowed: dict[str, Change] = {
        "valid": lambda m: None,
        "given": lambda m: without_parser(m, "given"),
        "none": lambda m: without_parser(m, "none"),
        "context-zero": lambda m: m["spacy"]["ner"].update(context=0),
    }
    return made_cases("spacy", manifest, refused, allowed)


def roles(manifest: dict[str, Any]) -> dict[str, Any]:
    graphs: dict[str, Any] = manifest["variants"]["fp32"]["graphs"]
    return graphs


def without_parser(manifest: dict[str, Any], sentences: str) -> None:
    manifest["spacy"].update(sentences=sentences, parser=None)
    for role in ("spacy_parser", "spacy_parser_types"):
        roles(manifest).pop(role)


def column(manifest: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = manifest["spacy"]["ner"]["columns"][0]
    return found


def made_cases(prefix: str, manifest: dict[str, Any], refused: dict[str, Change], allowed: dict[str, Change]) -> Cases:
    codes: list[tuple[str | None, dict[str, Change]]] = [("schema", refused), (None, allowed)]
    cases: Cases = {
        f"{prefix}-{name}.json": (code, changed_manifest(manifest, change))
        for code, changes in codes
        for name, change in changes.items()
    }
    assert canonical(manifest) == cases[f"{prefix}-valid.json"][1]
    return cases

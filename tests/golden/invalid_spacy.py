"""What is wrong with each folder of invalid/ that is a copy of tiny-spacy, and the code it must be refused with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from corrupting import (
    Corrupt,
    edit_case,
    edit_file,
    edit_graph,
    edit_json,
    edit_manifest,
    edit_tensors,
    graph_of,
    relisted,
)
from invalid_token_classifier import with_entities

RULES, TABLES = "spacy_tokenizer.json", "tables.safetensors"
Change = Callable[[dict[str, Any]], object]


def rules(change: Change) -> tuple[str, Corrupt]:
    return "tokenizer", edit_json(RULES, lambda data: (shorten(data), change(data)))


def shorten(data: dict[str, Any]) -> None:
    """Leave out most characters and symbols: the rules are still valid, and the committed copies small."""
    data["symbols"] = {}
    data["characters"] = {
        name: {"A": "a"} if name == "lower" else bounds[:2] for name, bounds in data["characters"].items()
    }


def tables(change: Change) -> tuple[str, Corrupt]:
    return "tokenizer", edit_tensors(TABLES, change)


def golden(change: Change) -> tuple[str, Corrupt]:
    return "golden", edit_case(change, with_entities)


def first_entity(case: dict[str, Any]) -> dict[str, Any]:
    entity: dict[str, Any] = case["expected"]["entities"][0]
    return entity


def roles(manifest: dict[str, Any]) -> dict[str, Any]:
    graphs: dict[str, Any] = manifest["variants"]["fp32"]["graphs"]
    return graphs


def swap_first(array: Any) -> Any:
    return np.concatenate([array[1::-1], array[2:]])


def give_label_as_begins(model: Any) -> None:
    """Call the outputs of two types by each other's names."""
    for value in (*model.graph.output, *model.graph.value_info):
        value.name = {"label": "begins", "begins": "label"}.get(value.name, value.name)
    for node in model.graph.node:
        node.output[:] = [{"label": "begins", "begins": "label"}.get(name, name) for name in node.output]


def declare_label_as_begins(manifest: dict[str, Any]) -> None:
    for tensor in graph_of(manifest)["outputs"]:
        tensor["name"] = {"label": "begins", "begins": "label"}.get(tensor["name"], tensor["name"])


def no_begins(manifest: dict[str, Any]) -> None:
    outputs = graph_of(manifest)["outputs"]
    outputs.remove(next(tensor for tensor in outputs if tensor["name"] == "begins"))


def drop_begins(model: Any) -> None:
    model.graph.output.remove(next(value for value in model.graph.output if value.name == "begins"))


INVALID: dict[str, tuple[str, Corrupt]] = {
    "spacy-rules-garbage": ("tokenizer", relisted(edit_file(RULES, lambda raw: b"[]"))),
    "spacy-rules-key-twice": ("tokenizer", relisted(edit_file(RULES, lambda raw: b'{"a":1,"a":1}'))),
    "spacy-rules-key-unknown": rules(lambda r: r.update(extra=1)),
    "spacy-rules-key-missing": rules(lambda r: r.pop("infix")),
    "spacy-rules-version": rules(lambda r: r.update(version=2)),
    "spacy-rules-special-that-does-not-join": rules(lambda r: r["specials"]["don't"][1].__setitem__(0, "nt")),
    "spacy-rules-pattern-open": rules(lambda r: r["suffix"][0].update(pattern="(?:a$")),
    "spacy-rules-window-zero": rules(lambda r: r["prefix"][0].update(window=0)),
    "spacy-rules-set-descending": rules(lambda r: r["characters"].update(digit=[58, 48])),
    "spacy-rules-sequence-empty": rules(lambda r: r["sequences"].append([])),
    "spacy-tables-garbage": ("tokenizer", relisted(edit_file(TABLES, lambda raw: raw[:100]))),
    "spacy-tables-missing": tables(lambda t: t.pop("ner.bias")),
    "spacy-tables-unknown": tables(lambda t: t.update(extra=np.zeros(1, np.float32))),
    "spacy-tables-other-shape": tables(lambda t: t.update({"ner.in.bias": t["ner.in.bias"][:1]})),
    "spacy-tables-other-dtype": tables(lambda t: t.update({"ner.bias": t["ner.bias"].astype(np.float16)})),
    "spacy-tables-nan": tables(lambda t: t["parser.weight"].__setitem__((0, 0), np.nan)),
    "spacy-tables-norms-unsorted": tables(lambda t: t.update({"norm.keys": swap_first(t["norm.keys"])})),
    "spacy-tables-vectors-unsorted": tables(lambda t: t.update({"vector.keys": swap_first(t["vector.keys"])})),
    "spacy-tables-vector-negative": tables(lambda t: t["vector.rows"].__setitem__(0, -1)),
    "spacy-tables-lengths-differ": tables(lambda t: t.update({"norm.values": t["norm.values"][1:]})),
    "spacy-types-missing": ("schema", edit_manifest(lambda m: roles(m).pop("spacy_ner_types"))),
    "spacy-parser-missing": ("schema", edit_manifest(lambda m: roles(m).pop("spacy_parser"))),
    "spacy-parser-not-wanted": ("schema", edit_manifest(lambda m: m["spacy"].update(sentences="none", parser=None))),
    "spacy-role-of-transformers": (
        "schema",
        edit_manifest(lambda m: roles(m).update(token_classifier=roles(m).pop("spacy_ner"))),
    ),
    "spacy-graphs-swapped": (
        "graph",
        edit_manifest(
            lambda m: roles(m).update(spacy_ner=roles(m)["spacy_parser"], spacy_parser=roles(m)["spacy_ner"])
        ),
    ),
    "spacy-graphs-of-one-network-swapped": (
        "graph",
        edit_manifest(
            lambda m: roles(m).update(spacy_ner=roles(m)["spacy_ner_types"], spacy_ner_types=roles(m)["spacy_ner"])
        ),
    ),
    "spacy-graph-other-output": ("graph", edit_graph(drop_begins, no_begins)),
    "spacy-graph-outputs-swapped": ("graph", edit_graph(give_label_as_begins, declare_label_as_begins)),
    "golden-entity-elsewhere": golden(lambda c: first_entity(c).update(end=first_entity(c)["end"] + 1)),
    "golden-entity-other-label": golden(lambda c: first_entity(c).update(label="NOBODY")),
    "golden-entity-missing": golden(lambda c: c["expected"]["entities"].pop()),
    "golden-entity-unknown-key": golden(lambda c: first_entity(c).update(text="x")),
    "golden-entity-start-as-float": golden(lambda c: first_entity(c).update(start=float(first_entity(c)["start"]))),
    "golden-entity-other-tokens": golden(lambda c: c["expected"].update(tokens=c["expected"]["tokens"] + 1)),
    "golden-entity-starts-not-wanted": golden(lambda c: c["settings"].update(sentence_starts=[0])),
    "golden-entity-strategy-not-wanted": golden(lambda c: c["settings"].update(aggregation_strategy="max")),
}

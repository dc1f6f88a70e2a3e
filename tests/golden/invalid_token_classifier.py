"""What is wrong with each folder of invalid/ that is a copy of tiny-ner, and the code it must be refused with."""

from __future__ import annotations

from typing import Any

from corrupting import Corrupt, edit_case, edit_graph, edit_manifest, graph_of


def with_entities(case: dict[str, Any]) -> bool:
    return bool(case["expected"]["entities"])


def rename_output(manifest: dict[str, Any]) -> None:
    graph_of(manifest)["outputs"][0].update(name="scores")


def rename_logits(model: Any) -> None:
    for node in model.graph.node:
        node.output[:] = ["scores" if name == "logits" else name for name in node.output]
    model.graph.output[0].name = "scores"


INVALID: dict[str, tuple[str, Corrupt]] = {
    "ner-graph-other-output": ("graph", edit_graph(rename_logits, rename_output)),
    "ner-role-of-embeddings": (
        "schema",
        edit_manifest(
            lambda m: m["variants"]["fp32"]["graphs"].update(
                encoder=m["variants"]["fp32"]["graphs"].pop("token_classifier")
            )
        ),
    ),
    "ner-tokenizer-other-padding": ("tokenizer", edit_manifest(lambda m: m["tokenizer"].update(pad_token_id=1))),
    "golden-ner-other-score": (
        "golden",
        edit_case(lambda c: c["expected"]["entities"][0].update(score=0.25), with_entities),
    ),
    "golden-ner-score-as-text": (
        "golden",
        edit_case(lambda c: c["expected"]["entities"][0].update(score="0.25"), with_entities),
    ),
    "golden-ner-unknown-strategy": (
        "golden",
        edit_case(lambda c: c["settings"].update(aggregation_strategy="best")),
    ),
    "golden-ner-stride-without-room": ("golden", edit_case(lambda c: c["settings"].update(stride=46))),
    "golden-ner-not-truncated": (
        "golden",
        edit_case(lambda c: c["expected"].update(truncated=not c["expected"]["truncated"])),
    ),
    "golden-ner-setting-missing": ("golden", edit_case(lambda c: c["settings"].pop("stride"))),
}

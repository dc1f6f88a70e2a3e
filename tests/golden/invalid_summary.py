"""What is wrong with each folder of invalid/ that is a copy of tiny-summary, and the code it must be refused with."""

from __future__ import annotations

from typing import Any

from corrupting import Corrupt, edit_case, edit_graph, edit_manifest


def rename_sequences(model: Any) -> None:
    for node in model.graph.node:
        node.output[:] = ["tokens" if name == "sequences" else name for name in node.output]
    model.graph.output[0].name = "tokens"


def declare_tokens(manifest: dict[str, Any]) -> None:
    manifest["variants"]["fp32"]["graphs"]["generate"]["outputs"][0].update(name="tokens")


INVALID: dict[str, tuple[str, Corrupt]] = {
    "summary-graph-other-output": ("graph", edit_graph(rename_sequences, declare_tokens)),
    "summary-tokenizer-other-padding": ("tokenizer", edit_manifest(lambda m: m["tokenizer"].update(pad_token_id=0))),
    "golden-summary-other-token": ("golden", edit_case(lambda c: c["expected"]["token_ids"].__setitem__(2, 5))),
    "golden-summary-other-text": ("golden", edit_case(lambda c: c["expected"].update(text="something else"))),
    "golden-summary-token-as-text": ("golden", edit_case(lambda c: c["expected"]["token_ids"].__setitem__(0, "2"))),
    "golden-summary-not-truncated": (
        "golden",
        edit_case(lambda c: c["expected"].update(truncated=not c["expected"]["truncated"])),
    ),
    "golden-summary-setting-missing": ("golden", edit_case(lambda c: c["settings"].pop("num_beams"))),
    "golden-summary-beams-zero": ("golden", edit_case(lambda c: c["settings"].update(num_beams=0))),
    "golden-summary-input-as-text": ("golden", edit_case(lambda c: c.update(input="a text"))),
}

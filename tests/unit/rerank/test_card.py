"""The model card of a reranker."""

from __future__ import annotations

import json
import re

from examples import VALID
from onnx_ml_bridge.artifacts.card import model_card
from onnx_ml_bridge.artifacts.checks import read_artifact
from onnx_ml_bridge.artifacts.facts import headline_row
from onnx_ml_bridge.artifacts.families.rerank import RERANK
from onnx_ml_bridge.artifacts.manifest import parse_manifest

TINY = VALID / "tiny-rerank"


def test_the_facts_of_the_card_are_right_and_its_example_runs(capsys):
    card = model_card(read_artifact(TINY).manifest, RERANK)
    assert "pipeline_tag: text-ranking" in card
    assert "| variant | graphs | max abs | order differing | Kendall tau | top 1 |" in card
    assert "- Scores: between 0 and 1, a sigmoid of the logit.\n" in card
    assert "- Long pairs: truncated to 48 tokens on the right, the longer text first.\n" in card
    (example,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    exec(example.replace("path/to/this/folder", str(TINY)), {})
    index, score = capsys.readouterr().out.split()
    assert index in ("0", "1") and 0 < float(score) < 1


def test_the_card_states_that_scores_are_logits():
    data = json.loads((TINY / "manifest.json").read_bytes())
    data["rerank"]["activation"] = "identity"
    card = model_card(parse_manifest(json.dumps(data).encode()), RERANK)
    assert "- Scores: the logit itself.\n" in card


def test_metrics_are_formatted_in_one_line():
    figures = {"max_abs": 3e-7, "order_differing": 0.0, "kendall_tau": 0.98765, "kendall_tau_min": 0.9, "top_1": 1.0}
    row = headline_row(RERANK, figures)
    assert row == "max abs 3.0e-07, order differing 0, Kendall tau 0.9877, top 1 1.0000"

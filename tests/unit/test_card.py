"""The model card: what it says is so, and its example runs."""

import re
from pathlib import Path

import pytest
from examples import VALID
from onnx_ml_bridge.artifacts.card import model_card
from onnx_ml_bridge.artifacts.checks import read_artifact
from onnx_ml_bridge.artifacts.families.token_classification import TOKEN_CLASSIFICATION, TokenClassificationSpec
from onnx_ml_bridge.artifacts.manifest import (
    FileEntry,
    GoldenSpec,
    Graph,
    Machine,
    Manifest,
    ParitySpec,
    Source,
    Variant,
)
from onnx_ml_bridge.artifacts.manifest_sections import TokenizerSpec

TINY = VALID / "tiny-embedding"
SOURCE = Source("hub", "someone/model", "abc", "0" * 64, "mit")
TOKENIZER = TokenizerSpec("tokenizer.json", 9, 128, "left", "[PAD]", 0)
TOKEN_CLASSIFIER = TokenClassificationSpec(
    ("O", "B-PER", "I-PER", "B-E\nMAIL"), ("O",), "simple", None, "length", 1, "en"
)
VARIANTS = {
    name: Variant({"token_classifier": Graph(f"onnx/{name}.onnx", 9, {}, "1.23", (), ())}, {}, None)
    for name in ("int8", "fp32")
}
METRICS = {
    "fp32": {"differing": 0.0, "entity_f1": 1.0, "score_max_abs": 2e-6},
    "int8": {"differing": 7.0, "entity_f1": 0.98765},
}


def token_classifier_card(**changes) -> str:
    named = (*(graph.file for variant in VARIANTS.values() for graph in variant.graphs.values()), TOKENIZER.file)
    manifest = Manifest(
        format_version="1.0",
        task=TOKEN_CLASSIFICATION.task,
        task_revision=1,
        engine=TOKEN_CLASSIFICATION.engine,
        name="tagger",
        version="1.0",
        source=SOURCE,
        builder={},
        variants=VARIANTS,
        golden=GoldenSpec("golden.jsonl", 1),
        parity=ParitySpec("parity.json", 1, Machine("any", (), 1), METRICS),
        files=dict.fromkeys([*named, "golden.jsonl", "parity.json"], FileEntry(1, "0" * 64)),
        sections={"tokenizer": TOKENIZER, "token_classification": TOKEN_CLASSIFIER, **changes},
    )
    return model_card(manifest, TOKEN_CLASSIFICATION)


def card_of(folder: Path) -> str:
    artifact = read_artifact(folder)
    return model_card(artifact.manifest, artifact.family)


def test_a_token_classifier_is_described_by_its_manifest():
    card = token_classifier_card()
    assert card.startswith(
        "---\nlicense: mit\nlanguage: en\nlibrary_name: onnx\npipeline_tag: token-classification\n---"
    )
    assert "- Labels: PER, E MAIL.\n" in card  # as entities have them, and in one line
    assert "- Aggregation strategy: simple.\n- Long texts: cut to 128 tokens on the left" in card
    strided = TokenClassificationSpec(TOKEN_CLASSIFIER.labels, ("O",), "none", 16, "length", 1, None)
    assert "windows of 128 tokens that share 16" in token_classifier_card(token_classification=strided)
    assert "B-PER, I-PER" in token_classifier_card(token_classification=strided)


def test_the_table_has_the_figures_of_the_task():
    rows = [line for line in token_classifier_card().splitlines() if line.startswith("|")]
    assert rows == [
        "| variant | graphs | differing | entity F1 | score max abs |",
        "|---|---|---|---|---|",
        "| fp32 | `onnx/fp32.onnx` | 0 | 1.00000 | 2.0e-06 |",
        "| int8 | `onnx/int8.onnx` | 7 | 0.98765 |  |",
    ]
    card = card_of(TINY)
    assert "| variant | graphs | max abs | cosine min | cosine mean |" in card and "generate_embedding" in card


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("en-core-web-sm", "the component ner alone"),
        ("en-core-web-sm-given", "sentences that each call gives"),
        ("en-core-web-sm-sentences", "sentences are those of its parser"),
    ],
)
def test_a_pipeline_says_what_it_reproduces_and_its_example_runs(name, said, spacy_artifact, capsys):
    folder = spacy_artifact(name)
    card = card_of(folder)
    assert said in card and "- Scores: none." in card and "PERSON" in card
    (example,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    text = example.replace("path/to/this/folder", str(folder)).replace("Another sentence", "Kofi Annan met Ada")
    exec(text if name.endswith("given") else text.replace("Any text", "Kofi Annan met Ada"), {})
    start = 10 if name.endswith("given") else 0
    assert f"Kofi Annan PERSON {start} {start + 10}" in capsys.readouterr().out

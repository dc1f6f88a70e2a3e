"""The model card of a token classifier."""

from onnx_ml_bridge.artifacts.card import model_card
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


def test_the_card_shows_the_facts_of_the_manifest():
    card = token_classifier_card()
    assert card.startswith(
        "---\nlicense: mit\nlanguage: en\nlibrary_name: onnx\npipeline_tag: token-classification\n---"
    )
    assert "- Labels: PER, E MAIL.\n" in card  # labels have no prefixes and no line breaks
    assert "- Aggregation strategy: simple.\n- Long texts: cut to 128 tokens on the left" in card
    strided = TokenClassificationSpec(TOKEN_CLASSIFIER.labels, ("O",), "none", 16, "length", 1, None)
    assert "windows of 128 tokens with an overlap of 16" in token_classifier_card(token_classification=strided)
    assert "B-PER, I-PER" in token_classifier_card(token_classification=strided)


def test_the_table_shows_the_metrics_of_the_task():
    rows = [line for line in token_classifier_card().splitlines() if line.startswith("|")]
    assert rows == [
        "| variant | graphs | differing | entity F1 | score max abs |",
        "|---|---|---|---|---|",
        "| fp32 | `onnx/fp32.onnx` | 0 | 1.00000 | 2.0e-06 |",
        "| int8 | `onnx/int8.onnx` | 7 | 0.98765 |  |",
    ]

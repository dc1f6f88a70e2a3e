"""Create a summarizer with the shape of distilbart-cnn-12-6 and random weights, and its artifact, to measure speed.

python -m benchmarks.recipes.summarizer --out DIR

The weights are random because no package contains those of the real model, and speed depends only on shapes and
lengths. The model has 306 M parameters, which transformers initializes for this `BartConfig` with the seed 20260701.
Its generation settings are those of the real model, except that the minimum length equals the maximum length, so that
every contender generates 142 tokens. Its tokenizer is the byte-level BPE of the small trained model in tests/models
with a limit of 1,024 tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .building import MODEL, run

_LENGTH = 142
_SEED = 20260701
_NAME = "random-distilbart-12-6"
_TOKENIZER = Path(__file__).parent.parent.parent / "tests/models/bart-package-descriptions"
_POSITIONS = 1024
_SHAPE = {
    "vocab_size": 50264,
    "d_model": 1024,
    "encoder_layers": 12,
    "decoder_layers": 6,
    "encoder_attention_heads": 16,
    "decoder_attention_heads": 16,
    "encoder_ffn_dim": 4096,
    "decoder_ffn_dim": 4096,
    "max_position_embeddings": _POSITIONS,
}
_TOKENS = {
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    "forced_bos_token_id": 0,
    "forced_eos_token_id": 2,
}
_SEARCH = {
    "num_beams": 4,
    "length_penalty": 2.0,
    "min_length": _LENGTH,
    "max_length": _LENGTH,
    "early_stopping": True,
    "no_repeat_ngram_size": 3,
}
_MODELS_TOML = f"""[[model]]
name = "{_NAME}"
version = "1.0.0"
task = "summarization"
source = "path:{MODEL}"
options = {{ parity_inputs = 2 }}
# Random weights prefer no token, so that noise decides between them.
gate.fp32 = {{ differing = 1000, token_mismatches = 0 }}
gate.int8 = {{ rouge_l = 0.0, sealed_same = 0.0, token_mismatches = 0 }}
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Create the model and the artifact."""
    run("summarizer", __doc__.splitlines()[0], make_model, _MODELS_TOML, arguments, rebuild=True)


def make_model(folder: Path) -> Path:
    """Create the model and save it in the format of transformers."""
    import torch
    from transformers import AutoTokenizer, BartConfig, BartForConditionalGeneration, GenerationConfig

    torch.manual_seed(_SEED)
    model = BartForConditionalGeneration(BartConfig(**_SHAPE, **_TOKENS)).eval()
    model.generation_config = GenerationConfig(**_SEARCH, **_TOKENS)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(_TOKENIZER, model_max_length=_POSITIONS).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    main()

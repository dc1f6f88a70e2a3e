"""Create the small random BART models of the parity tests of summaries.

    make_bart(folder)
    random_bart(seed=1, eos_bias=4.0)

As in small_models.py, the models have the architecture's own classes and seeded random weights. The distributions of
the next token are peaked, as those of trained models are, so that beams differ; a bias of the end token decides how
many sequences end before the maximum length.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from small_models import roberta_tokenizer, roughen
from transformers import BartConfig, BartForConditionalGeneration, GenerationConfig, PreTrainedTokenizerFast

BOS, PAD, EOS = 0, 1, 2
POSITIONS = 64
# The standard deviation of the logits, with which the logits of the best tokens differ by a few units.
_PEAK = 2.5
_SIZES = {
    "d_model": 48,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
}


def random_bart(
    *, seed: int = 0, vocab_size: int = 90, eos_bias: float = 0.0, peak: float = _PEAK, **config: Any
) -> BartForConditionalGeneration:
    """Return a model with random weights that depend on the seed; `config` is passed to `BartConfig`."""
    torch.manual_seed(seed)
    settings = {
        **_SIZES,
        "vocab_size": vocab_size,
        "max_position_embeddings": POSITIONS,
        "init_std": 0.2,
        "bos_token_id": BOS,
        "pad_token_id": PAD,
        "eos_token_id": EOS,
        "decoder_start_token_id": EOS,
        "forced_eos_token_id": None,
        **config,
    }
    model = BartForConditionalGeneration(BartConfig(**settings)).eval()
    roughen(model.model, 1.5)
    with torch.no_grad():
        norm = model.model.decoder.layers[-1].final_layer_norm
        spread = float(model.lm_head.weight.norm(dim=1).mean() * norm.weight.abs().mean())
        model.model.shared.weight *= peak / spread
        model.final_logits_bias[0, EOS] = eos_bias
    model.generation_config = generation_config()
    return model


def generation_config(**settings: Any) -> GenerationConfig:
    """Return a generation config of a summarizer, with the token ids of the small models."""
    given = {
        "num_beams": 4,
        "max_length": 24,
        "min_length": 4,
        "length_penalty": 1.0,
        "no_repeat_ngram_size": 3,
        "early_stopping": True,
        "forced_bos_token_id": BOS,
        "forced_eos_token_id": EOS,
        **settings,
    }
    return GenerationConfig(bos_token_id=BOS, pad_token_id=PAD, eos_token_id=EOS, decoder_start_token_id=EOS, **given)


def make_bart(folder: Path, *, settings: dict[str, Any] | None = None, **model: Any) -> Path:
    """Write a checkpoint with a byte-level BPE tokenizer to `folder`, and return `folder`."""
    tokenizer = roberta_tokenizer(model_max_length=POSITIONS)
    made = random_bart(vocab_size=len(tokenizer), **model)
    made.generation_config = generation_config(**(settings or {}))
    made.save_pretrained(folder)
    plain = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        model_max_length=POSITIONS,
        bos_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        cls_token="<s>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token="<mask>",
    )
    plain.save_pretrained(folder)
    return folder

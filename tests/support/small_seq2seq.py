"""Create the small random models of the parity tests of summaries: BART, mBART and Pegasus.

    make_bart(folder)
    make_summarizer(folder, "pegasus")
    random_summarizer("mbart", seed=1, eos_bias=4.0)

As in small_models.py, the models have the architecture's own classes and seeded random weights. The distributions of
the next token are peaked, as those of trained models are, so that beams differ; a bias of the end token decides how
many sequences end before the maximum length.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from small_models import roberta_tokenizer, roughen
from small_unigrams import LANGUAGE, UNIGRAM_TOKENIZERS
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GenerationConfig,
    MBartConfig,
    MBartForConditionalGeneration,
    PegasusConfig,
    PegasusForConditionalGeneration,
    PreTrainedTokenizerFast,
)

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


@dataclass(frozen=True)
class Specials:
    """The ids of special tokens, those around the tokens of a text, and the first token of a summary if it is forced.

    The language code of an mBART is the id `language`, which is in `prefix` or `suffix`.
    """

    bos: int = 0
    pad: int = 1
    eos: int = 2
    start: int = 2
    first: int = 0
    prefix: tuple[int, ...] = (0,)
    suffix: tuple[int, ...] = (2,)


@dataclass(frozen=True)
class Architecture:
    """The classes of an architecture, and the settings of its configuration that differ from BART's."""

    config: type[Any]
    model: type[Any]
    settings: dict[str, Any]


ARCHITECTURES = {
    "bart": Architecture(BartConfig, BartForConditionalGeneration, {}),
    "mbart": Architecture(MBartConfig, MBartForConditionalGeneration, {"scale_embedding": True}),
    "pegasus": Architecture(
        PegasusConfig, PegasusForConditionalGeneration, {"scale_embedding": True, "activation_function": "relu"}
    ),
}
BART = Specials()
PEGASUS = Specials(bos=0, pad=0, eos=1, start=0, first=7, prefix=(), suffix=(1,))


def mbart_specials(language: int) -> Specials:
    """Return the token ids of an mBART of 25 languages: the decoder starts with the code of the language."""
    return Specials(start=language, first=language, prefix=(), suffix=(2, language))


def mbart50_specials(language: int) -> Specials:
    """Return the token ids of an mBART of 50 languages: the first token of a summary is the code of the language."""
    return Specials(first=language, prefix=(language,))


def random_summarizer(
    architecture: str,
    specials: Specials = BART,
    *,
    seed: int = 0,
    vocab_size: int = 90,
    eos_bias: float = 0.0,
    peak: float = _PEAK,
    **config: Any,
) -> Any:
    """Return a model with random weights that depend on the seed; `config` is passed to its configuration."""
    torch.manual_seed(seed)
    made = ARCHITECTURES[architecture]
    settings = {
        **_SIZES,
        "vocab_size": vocab_size,
        "max_position_embeddings": POSITIONS,
        "init_std": 0.2,
        "bos_token_id": specials.bos,
        "pad_token_id": specials.pad,
        "eos_token_id": specials.eos,
        "decoder_start_token_id": specials.start,
        "forced_eos_token_id": None,
        **made.settings,
        **config,
    }
    model = made.model(made.config(**settings)).eval()
    roughen(model.model, 1.5)
    with torch.no_grad():
        decoder = model.model.decoder
        norm = getattr(decoder, "layer_norm", None) or decoder.layers[-1].final_layer_norm
        spread = float(model.lm_head.weight.norm(dim=1).mean() * norm.weight.abs().mean())
        model.model.shared.weight *= peak / spread
        model.final_logits_bias[0, specials.eos] = eos_bias
    model.generation_config = generation_config(specials)
    return model


def random_bart(**settings: Any) -> BartForConditionalGeneration:
    """Return a BART with random weights; the settings are those of `random_summarizer`."""
    model: BartForConditionalGeneration = random_summarizer("bart", **settings)
    return model


def generation_config(specials: Specials = BART, **settings: Any) -> GenerationConfig:
    """Return a generation config of a summarizer with these token ids."""
    given = {
        "num_beams": 4,
        "max_length": 24,
        "min_length": 4,
        "length_penalty": 1.0,
        "no_repeat_ngram_size": 3,
        "early_stopping": True,
        "forced_bos_token_id": specials.first,
        "forced_eos_token_id": specials.eos,
        **settings,
    }
    return GenerationConfig(
        bos_token_id=specials.bos,
        pad_token_id=specials.pad,
        eos_token_id=specials.eos,
        decoder_start_token_id=specials.start,
        **given,
    )


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


def make_summarizer(folder: Path, name: str, *, settings: dict[str, Any] | None = None, **model: Any) -> Path:
    """Write a checkpoint of the architecture's own tokenizer class to `folder`, and return `folder`.

    :param name: a key of `UNIGRAM_TOKENIZERS`: `mbart`, `mbart50` or `pegasus`.
    :param settings: settings of the generation config that differ from those of a summarizer.
    :param model: arguments of `random_summarizer`.
    """
    tokenizer = UNIGRAM_TOKENIZERS[name](model_max_length=POSITIONS)
    specials = specials_of(name, tokenizer.convert_tokens_to_ids(LANGUAGE))
    made = random_summarizer(architecture_of(name), specials, vocab_size=len(tokenizer), **model)
    made.generation_config = generation_config(specials, **(settings or {}))
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def architecture_of(name: str) -> str:
    """Return the key of `ARCHITECTURES` of a kind of summarizer: both kinds of mBART have one architecture."""
    return name.removesuffix("50")


def specials_of(name: str, language: int) -> Specials:
    """Return the token ids of a kind of summarizer: `bart`, `mbart`, `mbart50` or `pegasus`.

    :param language: the id of the language code of an mBART.
    """
    kinds = {"bart": BART, "mbart": mbart_specials(language), "mbart50": mbart50_specials(language), "pegasus": PEGASUS}
    return kinds[name]

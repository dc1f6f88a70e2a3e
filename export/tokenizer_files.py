"""Writes the files of a tokenizer and describes it for the manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from ..artifacts import strict_json
from ..artifacts.constants import TOKENIZER
from ..artifacts.errors import BuildError
from ..artifacts.manifest_sections import TokenizerSpec
from .encoder_checks import position_count

# For a tokenizer without a limit, transformers sets `model_max_length` to a number that is larger than this one.
_NO_LIMIT = 1_000_000


def describe_tokenizer(
    tokenizer: Any, model: Any, setting: str = "max_seq_length in sentence_bert_config.json"
) -> TokenizerSpec:
    """Return the section of the manifest that describes a fast tokenizer of transformers.

    :param model: the model of transformers.
    :param setting: the setting with the maximum number of tokens, which error messages name.
    :raises BuildError: with the code `unsupported_model`, if there is no maximum, or if it exceeds the number of
        positions.
    """
    return TokenizerSpec(
        file=TOKENIZER,
        vocab_size=tokenizer.backend_tokenizer.get_vocab_size(with_added_tokens=True),
        max_tokens=_max_tokens(tokenizer.model_max_length, model, setting),
        truncation_side=tokenizer.truncation_side,
        pad_token=str(tokenizer.pad_token),
        pad_token_id=int(tokenizer.pad_token_id),
    )


def _max_tokens(limit: int | None, model: Any, setting: str) -> int:
    positions = position_count(model)
    if limit is None or limit > _NO_LIMIT:
        limit = positions or int(getattr(model.config, "max_position_embeddings", 0) or 0)
    if limit < 1:  # XLNet states -1
        raise BuildError(
            "unsupported_model",
            "neither the tokenizer nor the model has a maximum number of tokens",
            hint=f"Set {setting}.",
        )
    if positions is not None and limit > positions:  # the original fails on texts of this length
        raise BuildError(
            "unsupported_model",
            f"texts are cut to {limit} tokens, but the model has only {positions} positions",
            hint=f"Set {setting} to {positions}.",
        )
    return int(limit)


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write tokenizer.json without padding and truncation, and the configuration files that transformers reads too."""
    plain = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    plain.no_padding()
    plain.no_truncation()
    (folder / TOKENIZER).write_text(plain.to_str(), encoding="utf-8")
    specials = {key: str(value) for key, value in tokenizer.special_tokens_map.items() if isinstance(value, str)}
    (folder / "special_tokens_map.json").write_bytes(strict_json.canonical(specials))
    config = {
        "clean_up_tokenization_spaces": bool(getattr(tokenizer, "clean_up_tokenization_spaces", False)),
        "model_max_length": int(tokenizer.model_max_length),
        "padding_side": tokenizer.padding_side,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "truncation_side": tokenizer.truncation_side,
        "model_input_names": list(tokenizer.model_input_names),
        **specials,
    }
    (folder / "tokenizer_config.json").write_bytes(strict_json.canonical(config))

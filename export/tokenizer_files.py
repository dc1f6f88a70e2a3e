"""The tokenizer as files and as the manifest's entry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from ..artifacts import strict_json
from ..artifacts.constants import TOKENIZER
from ..artifacts.errors import BuildError
from ..artifacts.manifest_sections import TokenizerSpec

# Where a tokenizer has no limit, transformers writes a number of this size.
_NO_LIMIT = 1_000_000
# RoBERTa and its kin number positions from padding_idx + 1, and from the first token that is no padding.
_OFFSET_POSITIONS = ("camembert", "mpnet", "roberta", "xlm-roberta", "xmod", "longformer")
# These number them from the left edge, padding or not.
_EDGE_POSITIONS = ("bart", "bert", "distilbert", "electra")


def describe_tokenizer(
    tokenizer: Any, config: Any, setting: str = "max_seq_length in sentence_bert_config.json"
) -> TokenizerSpec:
    """The manifest's entry of a fast tokenizer of transformers; `config` is the model's.

    :param setting: where the family keeps the largest number of tokens, for messages.
    :raises BuildError: with the code `unsupported_model` when no limit of length is known, or one beyond the positions.
    """
    limit, positions = tokenizer.model_max_length, _positions(config)
    if limit is None or limit > _NO_LIMIT:
        limit = positions
    if not limit:
        raise BuildError(
            "unsupported_model",
            "neither the tokenizer nor the model names a largest number of tokens",
            hint=f"Set {setting}.",
        )
    if limit > positions > 0 and has_absolute_positions(config):  # the original fails on texts this long
        raise BuildError(
            "unsupported_model",
            f"texts are cut to {limit} tokens, there are positions for {positions}",
            hint=f"Set {setting} to {positions}.",
        )
    return TokenizerSpec(
        file=TOKENIZER,
        vocab_size=tokenizer.backend_tokenizer.get_vocab_size(with_added_tokens=True),
        max_tokens=int(limit),
        truncation_side=tokenizer.truncation_side,
        pad_token=str(tokenizer.pad_token),
        pad_token_id=int(tokenizer.pad_token_id),
    )


def has_absolute_positions(config: Any) -> bool:
    """Whether a model has a table of positions, which ends somewhere. DeBERTa has one only if it is told to."""
    return config.model_type in _OFFSET_POSITIONS or counts_from_edge(config)


def counts_from_edge(config: Any) -> bool:
    """Whether a token's position depends on what is padded on its left."""
    biased = config.model_type == "deberta-v2" and bool(getattr(config, "position_biased_input", True))
    return biased or config.model_type in _EDGE_POSITIONS


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write tokenizer.json, without settings of one call, and the files other clients look for beside it."""
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


def _positions(config: Any) -> int:
    positions = int(getattr(config, "max_position_embeddings", 0) or 0)
    return positions - 2 if config.model_type in _OFFSET_POSITIONS and positions else positions

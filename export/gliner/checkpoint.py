"""Reads GLiNER checkpoints without GLiNER's library: the configuration, the weights and the tokenizer.

GLiNER's library runs code that `encoder_config` names (`auto_map`), even of a local folder. `resolve_source` refuses
such a folder, and nothing here imports that code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoTokenizer
from transformers.models.auto import CONFIG_MAPPING

from ...artifacts.errors import BuildError
from ...artifacts.families.gliner import CHECKPOINT_CONFIG
from ..checkpoints import typed_errors
from .modules import SPAN_MODES, TOKEN_MODE, SpanCheckpoint, TokenCheckpoint

# The encoders that tests compare with the original
ENCODERS = ("bert", "deberta-v2", "modernbert", "xlm-roberta")
_KINDS = (None, "gliner", "gliner_uni_encoder_span", "gliner_uni_encoder_token")
# Keys of the configuration whose features are not supported
_UNSUPPORTED = (
    "labels_encoder",
    "labels_decoder",
    "relations_layer",
    "post_fusion_schema",
    "fuse_layers",
    "represent_spans",
    "span_encoder_config",
    "precomputed_prompts_mode",
)
_SAFE, _PICKLED = "model.safetensors", "pytorch_model.bin"


@dataclass(frozen=True)
class GlinerConfig:
    """What the export uses of gliner_config.json.

    `encoder` is the configuration of the encoder for transformers. `max_words` is the number of words that the original
    reads of a text.
    """

    span_mode: str
    hidden_size: int
    max_width: int
    max_words: int
    has_lstm: bool
    entity_token: str
    separator_token: str
    entity_token_id: int
    uses_entity_token: bool
    encoder: Any


@dataclass(frozen=True)
class GlinerCheckpoint:
    """A model in float32 in evaluation mode, its configuration, and its fast tokenizer."""

    config: GlinerConfig
    model: Any
    tokenizer: Any


def load_checkpoint(folder: Path, *, allow_pickle: bool = False) -> GlinerCheckpoint:
    """Load a checkpoint that GLiNER's library saved.

    :raises BuildError: with the code `unsupported_model`, naming everything that is not supported;
        `unsafe_checkpoint` for pickled weights; `source` for files that are missing or cannot be read.
    """
    config = read_config(folder)
    with typed_errors(folder, "transformers"):
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
    if problems := list(_tokenizer_problems(folder, tokenizer, config)):
        raise BuildError("unsupported_model", f"{folder.name} has {'; '.join(problems)}")
    model = (TokenCheckpoint if config.span_mode == TOKEN_MODE else SpanCheckpoint)(config)
    _load_weights(model, _read_weights(folder, allow_pickle), folder)
    return GlinerCheckpoint(config, model.float().eval(), tokenizer)


def read_config(folder: Path) -> GlinerConfig:
    """Read and check gliner_config.json.

    :raises BuildError: with the code `unsupported_model` or `source`.
    """
    try:
        values = json.loads((folder / CHECKPOINT_CONFIG).read_text(encoding="utf-8"))
        if problems := list(_problems(folder, values)):
            raise BuildError("unsupported_model", f"{folder.name} has {'; '.join(problems)}")
        return _config(values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BuildError("source", f"{CHECKPOINT_CONFIG} of {folder.name} cannot be read: {error!r}") from error


def _problems(folder: Path, values: dict[str, Any]) -> Iterator[str]:
    """Yield everything in a configuration that is not supported."""
    yield from (f"{key} = {values[key]!r}" for key in _UNSUPPORTED if values.get(key))
    if values.get("model_type") not in _KINDS:
        yield f"the model type {values['model_type']!r}"
    if values["span_mode"] not in (*SPAN_MODES, TOKEN_MODE):
        yield f"span_mode = {values['span_mode']!r} (expected {', '.join((*SPAN_MODES, TOKEN_MODE))})"
    if values.get("num_rnn_layers", 1) > 1:
        yield f"{values['num_rnn_layers']} LSTM layers (expected at most 1)"
    if (splitter := values.get("words_splitter_type", "whitespace")) != "whitespace":
        yield f"words_splitter_type = {splitter!r} (expected whitespace)"
    if (pooling := values.get("subtoken_pooling", "first")) != "first":
        yield f"subtoken_pooling = {pooling!r} (expected first)"
    if values.get("class_token_index", -1) < 0 or values.get("vocab_size", -1) < 0:
        yield "no class_token_index or vocab_size (load it with GLiNER's library and save it again)"
    if (folder / "adapter_config.json").exists():
        yield "an adapter, which must be merged into the weights"
    yield from _encoder_problems(values.get("encoder_config"))


def _encoder_problems(encoder: Any) -> Iterator[str]:
    if not isinstance(encoder, dict):
        yield "no encoder_config (load it with GLiNER's library and save it again)"
    elif (kind := encoder.get("model_type", "deberta-v2")) not in ENCODERS:
        yield f"the encoder {kind!r} (expected one of {', '.join(ENCODERS)})"
    elif encoder.get("is_decoder"):
        yield "a decoder as its encoder (is_decoder)"


def _config(values: dict[str, Any]) -> GlinerConfig:
    encoder = values["encoder_config"]
    config = CONFIG_MAPPING[encoder.get("model_type", "deberta-v2")](**encoder)
    config._attn_implementation = "eager"
    return GlinerConfig(
        span_mode=values["span_mode"],
        hidden_size=int(values["hidden_size"]),
        max_width=int(values.get("max_width", 12)),
        max_words=int(values.get("max_len", 384)),
        has_lstm=values.get("num_rnn_layers", 1) > 0,
        entity_token=str(values.get("ent_token", "<<ENT>>")),
        separator_token=str(values.get("sep_token", "<<SEP>>")),
        entity_token_id=int(values["class_token_index"]),
        uses_entity_token=bool(values.get("embed_ent_token", True)),
        encoder=config,
    )


def _tokenizer_problems(folder: Path, tokenizer: Any, config: GlinerConfig) -> Iterator[str]:
    if not (folder / "tokenizer_config.json").is_file():
        yield "no tokenizer (load it with GLiNER's library and save it again)"
        return
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        yield "a tokenizer that is not a fast one"
        return
    if tokenizer.pad_token is None:
        yield "a tokenizer without a padding token"
    if (tokenizer.padding_side, tokenizer.truncation_side) != ("right", "right"):
        yield "a tokenizer that pads or truncates on the left"
    if tokenizer.convert_tokens_to_ids(config.entity_token) != config.entity_token_id:
        yield f"a tokenizer whose token {config.entity_token} is not class_token_index {config.entity_token_id}"
    for token in (config.entity_token, config.separator_token):
        if len(tokenizer(token, add_special_tokens=False)["input_ids"]) != 1:
            yield f"a tokenizer without the token {token}"


def _read_weights(folder: Path, allow_pickle: bool) -> dict[str, Tensor]:
    """Return the tensors of the checkpoint by name; of both files, that of safetensors."""
    file = folder / _SAFE
    if not file.is_file() and not (folder / _PICKLED).is_file():
        raise BuildError("source", f"{folder.name} has no weights", expected=f"{_SAFE} or {_PICKLED}")
    if not file.is_file() and not allow_pickle:
        raise BuildError("unsafe_checkpoint", f"{folder.name} has pickled weights", expected=_SAFE)
    with typed_errors(folder, "torch"):
        tensors: dict[str, Tensor] = (
            load_file(file) if file.is_file() else torch.load(folder / _PICKLED, map_location="cpu", weights_only=True)
        )
    return tensors


def _load_weights(model: nn.Module, tensors: dict[str, Tensor], folder: Path) -> None:
    """Copy weights into the model; buffers that only some versions of transformers save are left out."""
    optional = {name for name in tensors if name.rsplit(".", 1)[-1] in ("position_ids", "token_type_ids")}
    expected = model.state_dict()
    missing = set(expected) - set(tensors)
    unexpected = set(tensors) - set(expected) - optional
    other = {name for name in set(expected) & set(tensors) if expected[name].shape != tensors[name].shape}
    named = {"missing": missing, "unexpected": unexpected, "of another shape": other}
    if problems := [f"{what}: {', '.join(sorted(names))}" for what, names in named.items() if names]:
        raise BuildError("unsupported_model", f"{folder.name} has other weights than its configuration: {problems}")
    model.load_state_dict({name: tensors[name] for name in expected})

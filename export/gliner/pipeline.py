"""Exports a GLiNER checkpoint: graph, tokenizer, characters of words, and the sections of the manifest."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch

from ...artifacts import strict_json
from ...artifacts.constants import EXACT, graph_file
from ...artifacts.errors import BuildError
from ...artifacts.families.gliner import CHECKPOINT_CONFIG, WORDS, GlinerSpec
from ...artifacts.manifest import Variant
from ...artifacts.manifest_sections import TokenizerSpec
from ...artifacts.staging import BuildSettings, Staged
from ...graphs.files import describe_graph, save_graph
from ..deberta import bucket_lookup
from ..encoder_checks import position_count
from ..tokenizer_files import describe_tokenizer, save_tokenizer
from ..tracing import export_module
from .checkpoint import GlinerCheckpoint, load_checkpoint
from .modules import TOKEN_MODE, SpanScorer, TokenScorer

_LIMIT_SETTING = "model_max_length in tokenizer_config.json"
# For a tokenizer without a limit, transformers sets `model_max_length` to a number that is larger than this one
_NO_LIMIT = 1_000_000
# The limit of a model without one: this number of tokens for each word of the longest text that the original reads
_TOKENS_PER_WORD = 4
# The overlap of windows, as the divisor of the number of their words
_STRIDE_DIVISOR = 4


@dataclass(frozen=True)
class GlinerDefaults:
    """The settings of a call without options; `stride` None is a quarter of the words of a window."""

    labels: tuple[str, ...] = ()
    threshold: float = 0.5
    nested: bool = False
    multi_label: bool = False
    stride: int | None = None
    language: str | None = None


@dataclass(frozen=True)
class GlinerExport:
    """An exported model: the saved fp32 graph, its file, and its manifest sections."""

    graph: ir.Model
    graph_file: str
    tokenizer: TokenizerSpec
    gliner: GlinerSpec


def export(folder: Path, settings: BuildSettings, staging: Path) -> Staged:
    """Export the model in `folder`: fp32 graph, tokenizer, characters of words and gliner_config.json."""
    options = settings.options
    loaded = load_checkpoint(folder, allow_pickle=options.allow_pickle)
    exported = export_model(loaded, folder, staging, _defaults(options))
    graphs = {"entity_scorer": describe_graph(exported.graph, exported.graph_file)}
    sections = {"gliner": exported.gliner, "tokenizer": exported.tokenizer}
    return Staged(staging, settings, sections, {EXACT: Variant(graphs, settings.gate(EXACT), None)})


def _defaults(options: Any) -> GlinerDefaults:
    return GlinerDefaults(
        labels=tuple(options.labels or ()),
        threshold=options.threshold,
        nested=options.nested,
        multi_label=options.multi_label,
        stride=options.stride,
        language=options.language,
    )


def export_model(
    loaded: GlinerCheckpoint, folder: Path, staging: Path, defaults: GlinerDefaults | None = None
) -> GlinerExport:
    """Export a loaded checkpoint into `staging`.

    :raises BuildError: with the code `unsupported_model` for a limit of tokens that the model does not have, or
        `config` for invalid defaults.
    """
    defaults = defaults or GlinerDefaults()
    tokenizer = _describe_tokenizer(loaded)
    spec = _describe(loaded, defaults)
    file = graph_file("model", EXACT)
    with bucket_lookup(loaded.model.encoder, tokenizer.max_tokens):
        graph = _trace(loaded)
    config = json.loads((folder / CHECKPOINT_CONFIG).read_text(encoding="utf-8"))
    (staging / CHECKPOINT_CONFIG).write_bytes(strict_json.canonical(config))
    (staging / WORDS).write_bytes(strict_json.canonical_line(word_characters()))
    save_tokenizer(loaded.tokenizer, staging)
    save_graph(graph, staging, file)
    return GlinerExport(graph, file, tokenizer, spec)


def word_characters() -> dict[str, list[int]]:
    r"""Return the characters that `\w` and `\s` of Python's `re` match, as ranges of code points.

    :returns: `word` and `space`, each a list of starts and exclusive ends in turn. Other languages and versions of
        Python have other tables of Unicode, so the artifact has the characters of the original.
    """
    return {
        "space": _ranges(str.isspace),
        "word": _ranges(lambda character: character.isalnum() or character == "_"),
    }


def _ranges(accepts: Callable[[str], bool]) -> list[int]:
    borders, inside = [], False
    for code in range(0x110000):
        if accepts(chr(code)) != inside:
            borders.append(code)
            inside = not inside
    return [*borders, 0x110000] if inside else borders


def _describe_tokenizer(loaded: GlinerCheckpoint) -> TokenizerSpec:
    tokenizer, encoder = loaded.tokenizer, loaded.model.encoder
    if tokenizer.model_max_length > _NO_LIMIT and position_count(encoder) is None:
        tokenizer.model_max_length = _TOKENS_PER_WORD * loaded.config.max_words
    return describe_tokenizer(tokenizer, encoder, _LIMIT_SETTING)


def _describe(loaded: GlinerCheckpoint, defaults: GlinerDefaults) -> GlinerSpec:
    config = loaded.config
    stride = config.max_words // _STRIDE_DIVISOR if defaults.stride is None else defaults.stride
    if not 0 <= stride < config.max_words:
        raise BuildError("config", "stride", expected=f"0 to {config.max_words - 1} words", actual=stride)
    return GlinerSpec(
        mode="token" if config.span_mode == TOKEN_MODE else "span",
        max_width=None if config.span_mode == TOKEN_MODE else config.max_width,
        max_words=config.max_words,
        stride=stride,
        words=WORDS,
        entity_token=config.entity_token,
        separator_token=config.separator_token,
        label_vector="entity_token" if config.uses_entity_token else "next_token",
        labels=tuple(dict.fromkeys(defaults.labels)),
        threshold=defaults.threshold,
        nested=defaults.nested,
        multi_label=defaults.multi_label,
        language=defaults.language,
    )


def _trace(loaded: GlinerCheckpoint) -> ir.Model:
    """Trace a batch with everything that occurs: texts of different lengths, and a word without a token."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, loaded.config.encoder.vocab_size, (3, 11), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 8:] = 0
    ids[1, 8:] = int(loaded.tokenizer.pad_token_id)
    words = torch.tensor([[4, 5, 6, 7, 9], [4, 5, 6, -2, -2], [5, 6, 7, 8, -1]])
    labels = torch.tensor([[1, 3], [1, 2], [1, 3]])
    inputs = {"input_ids": ids, "attention_mask": mask, "word_positions": words, "label_positions": labels}
    axes = {"input_ids": "tokens", "attention_mask": "tokens", "word_positions": "words", "label_positions": "labels"}
    is_token = loaded.config.span_mode == TOKEN_MODE
    module = TokenScorer(loaded.model) if is_token else SpanScorer(loaded.model, loaded.config.max_width)
    return export_module(module, inputs, ["logits"], {name: {0: "batch", 1: axis} for name, axis in axes.items()})

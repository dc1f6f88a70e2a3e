"""Exports token classifiers of transformers: one ONNX graph, from token ids to the logits of every label.

`load_model` loads a model from a folder. `export_model` exports a loaded model, so that tests can export small ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor, nn
from transformers import AutoModelForTokenClassification
from transformers.models.auto.modeling_auto import MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES

from ..artifacts.constants import EXACT, graph_file
from ..artifacts.errors import BuildError
from ..artifacts.families.token_classification import TokenClassificationSpec
from ..artifacts.manifest import Variant
from ..artifacts.manifest_sections import TokenizerSpec
from ..artifacts.ner import STRATEGIES
from ..artifacts.staging import BuildSettings, Staged
from ..graphs.files import describe_graph, save_graph
from .attention_blocks import trace_in_blocks
from .checkpoints import load_checkpoint, refuse_foreign_head, save_config
from .deberta import bucket_lookup
from .encoder_checks import input_problems, reads_token_types, refuse_dependence_on_padding
from .tokenizer_files import describe_tokenizer, save_tokenizer
from .tracing import export_module

_HEAD = "ForTokenClassification"
_LIMIT_SETTING = "model_max_length in tokenizer_config.json"


@dataclass(frozen=True)
class NerDefaults:
    """The settings of a call without options.

    - `aggregation_strategy`: one of `STRATEGIES`.
    - `stride`: the overlap of the windows of a long text, in tokens; None cuts long texts.
    - `ignore_labels`: labels that are left out of the result.
    - `language`: the language of the model, which is only displayed.
    """

    aggregation_strategy: str = "simple"
    stride: int | None = None
    ignore_labels: tuple[str, ...] = ("O",)
    language: str | None = None


@dataclass(frozen=True)
class LoadedClassifier:
    """A model in float32 on the CPU, ready to export, and its fast tokenizer."""

    model: Any
    tokenizer: Any


@dataclass(frozen=True)
class TokenClassificationExport:
    """An exported model: the saved fp32 graph, its file, and its manifest sections."""

    graph: ir.Model
    graph_file: str
    tokenizer: TokenizerSpec
    token_classification: TokenClassificationSpec


def export(folder: Path, settings: BuildSettings, staging: Path) -> Staged:
    """Export the model in `folder`: fp32 graph, tokenizer and config.json."""
    options = settings.options
    loaded = load_model(folder, allow_pickle=options.allow_pickle)
    exported = export_model(loaded, folder, staging, _defaults(options))
    sections = {"token_classification": exported.token_classification, "tokenizer": exported.tokenizer}
    graphs = {"token_classifier": describe_graph(exported.graph, exported.graph_file)}
    return Staged(staging, settings, sections, {EXACT: Variant(graphs, settings.gate(EXACT), None)})


def _defaults(options: Any) -> NerDefaults:
    """Return the default settings of a call: the options of models.toml, or those of `NerDefaults` for None."""
    ignored = options.ignore_labels
    values = {
        "aggregation_strategy": options.aggregation_strategy,
        "stride": options.stride,
        "ignore_labels": None if ignored is None else tuple(ignored),
        "language": options.language,
    }
    return NerDefaults(**{name: value for name, value in values.items() if value is not None})


def load_model(folder: Path, *, allow_pickle: bool = False) -> LoadedClassifier:
    """Load a model and its tokenizer; models without a class of transformers are refused before loading.

    :raises BuildError: with the code `unsupported_model`, `unsafe_checkpoint` or `source`.
    """
    refuse_foreign_head(folder, MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES, _HEAD)
    model_class = AutoModelForTokenClassification
    return LoadedClassifier(*load_checkpoint(model_class, folder, "token classification", allow_pickle=allow_pickle))


def export_model(
    loaded: LoadedClassifier, folder: Path, staging: Path, defaults: NerDefaults | None = None
) -> TokenClassificationExport:
    """Export a loaded model into `staging`: graph, tokenizer, and `config.json` of `folder`.

    A text longer than the tokenizer's `model_max_length` is cut, or read in windows of that length. Without that limit,
    the number of positions is the limit. The original fails on longer texts, or reads them whole if its positions are
    relative (DeBERTa); the artifact cuts them and reports it.

    :raises BuildError: with the code `unsupported_model`, naming everything that cannot be reproduced, or `config` for
        invalid defaults.
    """
    if problems := _problems(loaded):
        raise BuildError("unsupported_model", f"the model has {'; '.join(problems)}")
    tokenizer = describe_tokenizer(loaded.tokenizer, loaded.model, _LIMIT_SETTING)
    spec = _describe(loaded, tokenizer, defaults or NerDefaults())
    sides = dict.fromkeys(("right", loaded.tokenizer.padding_side))
    refuse_dependence_on_padding(loaded.model, TokenScorer(loaded.model), tokenizer, sides)
    file = graph_file("model", EXACT)
    with bucket_lookup(loaded.model, tokenizer.max_tokens):
        graph = trace_in_blocks(loaded.model, tokenizer.max_tokens, lambda: _trace(loaded, tokenizer.pad_token_id))
    save_config(folder, staging)
    save_tokenizer(loaded.tokenizer, staging)
    save_graph(graph, staging, file)
    return TokenClassificationExport(graph, file, tokenizer, spec)


class TokenScorer(nn.Module):
    """A wrapper of a token classifier that returns only the logits, for tracing."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """Return the logits, float32 `[batch, tokens, labels]`; all inputs are int64 `[batch, tokens]`."""
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        logits: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask, **types).logits
        return logits


def _trace(loaded: LoadedClassifier, pad_id: int) -> ir.Model:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, loaded.model.config.vocab_size, (3, 7), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    ids[1, 5:] = pad_id
    inputs = {"input_ids": ids, "attention_mask": mask}
    if reads_token_types(loaded.model, loaded.tokenizer):
        inputs["token_type_ids"] = torch.zeros_like(ids)
    return export_module(
        TokenScorer(loaded.model), inputs, ["logits"], {name: {0: "batch", 1: "tokens"} for name in inputs}
    )


def _problems(loaded: LoadedClassifier) -> list[str]:
    """Return everything in a loaded model and its tokenizer that cannot be reproduced."""
    kind, config = type(loaded.model), loaded.model.config
    problems = []
    expected = MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES.get(config.model_type)
    if kind.__name__ != expected or not kind.__module__.startswith("transformers."):
        problems.append(f"the class {kind.__module__}.{kind.__name__}, not {expected} of transformers")
    if getattr(config, "is_decoder", False):
        problems.append("a decoder, whose attention is causal (is_decoder in config.json)")
    if sorted(config.id2label) != list(range(config.num_labels)):
        problems.append(f"labels for the classes {sorted(config.id2label)} instead of 0 to {config.num_labels - 1}")
    return problems + _tokenizer_problems(loaded)


def _tokenizer_problems(loaded: LoadedClassifier) -> list[str]:
    tokenizer, problems = loaded.tokenizer, []
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        return ["a tokenizer that is not a fast one: without tokenizer.json there are no offsets in the text"]
    if tokenizer.pad_token is None:
        problems.append("a tokenizer without a padding token")
    if getattr(tokenizer, "split_special_tokens", False):
        problems.append("a tokenizer with split_special_tokens, which tokenizer.json cannot express")
    return problems + input_problems(loaded.model, tokenizer)


def _describe(loaded: LoadedClassifier, tokenizer: TokenizerSpec, defaults: NerDefaults) -> TokenClassificationSpec:
    backend, unk_id = loaded.tokenizer.backend_tokenizer, loaded.tokenizer.unk_token_id
    room = tokenizer.max_tokens - backend.num_special_tokens_to_add(is_pair=False)
    if room < 1:
        raise BuildError(
            "unsupported_model",
            f"a limit of {tokenizer.max_tokens} tokens leaves no room for text",
            hint=f"Set {_LIMIT_SETTING}.",
        )
    _check_defaults(defaults, room)
    labels = loaded.model.config.id2label
    return TokenClassificationSpec(
        labels=tuple(str(labels[index]) for index in range(len(labels))),
        ignore_labels=tuple(defaults.ignore_labels),
        aggregation_strategy=defaults.aggregation_strategy,
        stride=defaults.stride,
        subwords="length" if getattr(backend.model, "continuing_subword_prefix", None) else "space",
        unk_token_id=None if unk_id is None else int(unk_id),
        language=defaults.language,
    )


def _check_defaults(defaults: NerDefaults, room: int) -> None:
    strategy, stride = defaults.aggregation_strategy, defaults.stride
    if strategy not in STRATEGIES:
        raise BuildError("config", "aggregation_strategy", expected=" or ".join(STRATEGIES), actual=repr(strategy))
    if stride is not None and strategy == "none":
        raise BuildError(
            "config",
            "a stride with the aggregation strategy none, which cannot merge the entities of windows",
            hint="Use another strategy, or no stride.",
        )
    if stride is not None and not 0 <= stride < room:
        raise BuildError("config", "stride", expected=f"0 to {room - 1} tokens", actual=stride)

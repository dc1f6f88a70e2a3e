"""Export cross-encoders of sentence-transformers as one graph from the token ids of pairs to logits and scores."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from sentence_transformers import CrossEncoder
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

from ..artifacts.constants import EXACT, graph_file
from ..artifacts.errors import BuildError
from ..artifacts.families.rerank import RerankSpec
from ..artifacts.manifest import Variant
from ..artifacts.manifest_sections import TokenizerSpec
from ..artifacts.staging import BuildSettings, Staged
from ..graphs.files import describe_graph, save_graph
from .attention_blocks import trace_in_blocks
from .checkpoints import load_checkpoint, model_arguments, refuse_foreign_head, save_config, typed_errors
from .deberta import bucket_lookup
from .encoder_checks import input_problems, reads_token_types, refuse_dependence_on_padding
from .tokenizer_files import describe_tokenizer, save_tokenizer
from .tracing import export_module
from .transformer_calls import call_problems

_HEAD = "ForSequenceClassification"
_ACTIVATIONS: dict[type[nn.Module], str] = {nn.Sigmoid: "sigmoid", nn.Identity: "identity"}
_LIMIT_SETTING = "model_max_length in tokenizer_config.json"
_CONFIGURATIONS = ("config.json", "config_sentence_transformers.json", "modules.json", "sentence_bert_config.json")


@dataclass(frozen=True)
class RerankExport:
    """An exported model: the saved fp32 graph and its sections of the manifest."""

    graph: ir.Model
    graph_file: str
    tokenizer: TokenizerSpec
    rerank: RerankSpec


def export(folder: Path, settings: BuildSettings, staging: Path) -> Staged:
    """Write the fp32 graph, the tokenizer and the configuration files of the model in `folder` to `staging`."""
    exported = export_model(load_model(folder, allow_pickle=settings.options.allow_pickle), folder, staging)
    sections = {"rerank": exported.rerank, "tokenizer": exported.tokenizer}
    graphs = {"pair_scorer": describe_graph(exported.graph, exported.graph_file)}
    return Staged(staging, settings, sections, {EXACT: Variant(graphs, settings.gate(EXACT), None)})


def load_model(folder: Path, *, allow_pickle: bool = False) -> CrossEncoder:
    """Load a cross-encoder in float32 on the CPU.

    :raises BuildError: with the code `unsupported_model`, `unsafe_checkpoint` or `source`.
    """
    refuse_foreign_head(folder, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES, _HEAD)
    # Called to refuse a checkpoint with missing weights: CrossEncoder would initialize them randomly
    model_class = AutoModelForSequenceClassification
    load_checkpoint(model_class, folder, "ranking", allow_pickle=allow_pickle, needs_pooler=True)
    with typed_errors(folder, "sentence-transformers"):
        encoder: CrossEncoder = CrossEncoder(
            str(folder),
            device="cpu",
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs=model_arguments(allow_pickle=allow_pickle),
        )
    return encoder


def export_model(encoder: CrossEncoder, folder: Path, staging: Path) -> RerankExport:
    """Write the graph and the tokenizer of a loaded model, and the configuration files of `folder`, to `staging`.

    :raises BuildError: with the code `unsupported_model` and all features that are not supported.
    """
    if problems := _problems(encoder):
        raise BuildError("unsupported_model", f"the model has {'; '.join(problems)}")
    tokenizer = encoder.tokenizer
    model: Any = encoder.model
    activation: Any = encoder.activation_fn
    spec = describe_tokenizer(tokenizer, model, _LIMIT_SETTING)
    # The artifact pads on the right
    refuse_dependence_on_padding(model, partial(_padded_scores, model), spec, ("right",))
    file = graph_file("model", EXACT)
    with bucket_lookup(model, spec.max_tokens):
        with_types = reads_token_types(model, tokenizer)
        graph = trace_in_blocks(
            model, spec.max_tokens, lambda: _trace(model, activation, with_types, spec.pad_token_id)
        )
    for name in _CONFIGURATIONS:
        if (folder / name).is_file():
            save_config(folder, staging, name)
    save_tokenizer(tokenizer, staging)
    save_graph(graph, staging, file)
    return RerankExport(graph, file, spec, RerankSpec(_ACTIVATIONS[type(activation)]))


def _padded_scores(model: Any, ids: Tensor, mask: Tensor) -> Tensor:
    """Return the logit of every text for each of its tokens, `[batch, tokens, 2]`.

    The second value is 1, so that a logit near 0 may differ by rounding errors.
    """
    logits: Tensor = model(input_ids=ids, attention_mask=mask).logits
    return torch.cat([logits, torch.ones_like(logits)], dim=-1).unsqueeze(1).expand(-1, ids.shape[1], -1)


class PairScorer(nn.Module):
    """A classifier with one label and its activation: `logits` `[batch, 1]` and `scores` `[batch]`, float32."""

    def __init__(self, model: nn.Module, activation: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.activation = activation

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the logits and the scores of pairs; every input is int64 `[batch, tokens]`."""
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        logits = self.model(input_ids=input_ids, attention_mask=attention_mask, **types).logits
        return logits, self.activation(logits).squeeze(-1)


def _trace(model: Any, activation: nn.Module, with_types: bool, pad_id: int) -> ir.Model:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, model.config.vocab_size, (3, 7), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    ids[1, 5:] = pad_id
    inputs = {"input_ids": ids, "attention_mask": mask}
    if with_types:
        inputs["token_type_ids"] = torch.zeros_like(ids)
    module = PairScorer(model, activation)
    return export_module(module, inputs, ["logits", "scores"], {name: {0: "batch", 1: "tokens"} for name in inputs})


def _problems(encoder: CrossEncoder) -> list[str]:
    """Return the features of a model that are not supported."""
    problems = []
    kinds = [type(module).__name__ for module in encoder]
    if kinds != ["Transformer"]:
        return [f"the modules {', '.join(kinds)}, expected one Transformer"]
    transformer: Any = encoder[0]
    model: Any = encoder.model
    modalities = list(transformer.modality_config)
    if modalities != ["text"]:  # a chat template makes messages of pairs
        problems.append(f"the modalities {', '.join(map(str, modalities))} where only text is supported")
    if getattr(model.config, "is_decoder", False):
        problems.append("a decoder, whose attention is causal (is_decoder in config.json)")
    if encoder.num_labels != 1:
        problems.append(f"{encoder.num_labels} labels, expected 1")
    activation: Any = encoder.activation_fn
    if type(activation) not in _ACTIVATIONS:
        problems.append(f"the activation function {type(activation).__name__}, expected Sigmoid or Identity")
    if encoder.default_prompt_name is not None:
        problems.append(f"the default prompt {encoder.default_prompt_name!r}, expected none")
    if getattr(encoder.tokenizer, "backend_tokenizer", None) is None:
        problems.append("a tokenizer that is not a fast one")
    elif encoder.tokenizer.pad_token is None:
        problems.append("a tokenizer without a padding token")
    else:
        problems += input_problems(model, encoder.tokenizer) + call_problems(transformer)
    return problems

"""Exports sentence-transformers pipelines to one ONNX graph: encoder, pooling, dense layers and normalization.

`load_pipeline` loads a pipeline from a folder. `export_pipeline` exports a loaded pipeline, so that tests can export
small ones.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import onnx_ir as ir
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules.dense import Dense
from sentence_transformers.base.modules.normalize import Normalize
from sentence_transformers.base.modules.transformer import Transformer
from sentence_transformers.sentence_transformer.modules.layer_norm import LayerNorm
from sentence_transformers.sentence_transformer.modules.pooling import Pooling
from torch import Tensor, nn

from ...artifacts.constants import EXACT, graph_file
from ...artifacts.errors import BuildError
from ...artifacts.families.sentence_embedding import EmbeddingSpec, Prompt
from ...artifacts.manifest_sections import TokenizerSpec
from ...graphs.files import save_graph
from ..attention_blocks import trace_in_blocks
from ..checkpoints import load_weights, model_arguments, refuse_unknown_type, save_config, typed_errors
from ..deberta import bucket_lookup
from ..encoder_checks import input_problems, reads_token_types, refuse_dependence_on_padding
from ..tokenizer_files import describe_tokenizer, save_tokenizer
from ..tracing import export_module
from ..transformer_calls import call_problems
from .dimensions import checked_dimension, ends_normalized, truncation
from .pooling import POOLING, without_prompt
from .prompts import checked_prompts

# The classes of sentence-transformers modules that may follow Transformer and Pooling in a pipeline
_HEADS = (Dense, LayerNorm, Normalize)
# The method of the encoder whose result is pooled, and the field of this result
_TEXT_MODALITY = {"method": "forward", "method_output_name": "last_hidden_state"}
_MODULE_NAMES = ("Transformer", "Pooling", "StaticEmbedding", *(head.__name__ for head in _HEADS))


@dataclass(frozen=True)
class EmbeddingExport:
    """An exported pipeline: the saved fp32 graph, its file, and its manifest sections."""

    graph: ir.Model
    graph_file: str
    tokenizer: TokenizerSpec
    embedding: EmbeddingSpec


def load_pipeline(folder: Path, *, allow_pickle: bool = False) -> SentenceTransformer:
    """Load a pipeline in float32 on the CPU; modules that are not supported are refused before loading.

    :raises BuildError: with the code `unsupported_model`, `unsafe_checkpoint` or `source`.
    """
    path = _refuse_unknown_modules(folder)
    if path is not None:
        refuse_unknown_type(folder / path)
    arguments = model_arguments(allow_pickle=allow_pickle) | {"ignore_mismatched_sizes": True}
    with typed_errors(folder, "sentence-transformers"):
        pipeline = SentenceTransformer(
            str(folder), device="cpu", trust_remote_code=False, local_files_only=True, model_kwargs=arguments
        )
    encoder = pipeline[0]
    if isinstance(encoder, Transformer) and path is not None:
        refuse_other_weights(encoder, folder / path, allow_pickle=allow_pickle)
    return pipeline


def refuse_other_weights(transformer: Transformer, folder: Path, *, allow_pickle: bool) -> None:
    """Check that the checkpoint in `folder` has exactly the weights of its class.

    sentence-transformers does not say which weights are missing or left over.

    :raises BuildError: with the code `unsupported_model`, `unsafe_checkpoint` or `source`.
    """
    model: Any = transformer.model
    load_weights(type(model), folder, "sentence embeddings", allow_pickle=allow_pickle, config=model.config)


def export_pipeline(pipeline: SentenceTransformer, folder: Path, staging: Path) -> EmbeddingExport:
    """Export a loaded pipeline into `staging`: graph, tokenizer, and the configuration files of `folder`.

    :raises BuildError: with the code `unsupported_model`, naming the modules that cannot be reproduced.
    """
    transformer, pooling, heads = _modules(pipeline)
    fast_tokenizer: Any = transformer.tokenizer
    tokenizer = describe_tokenizer(fast_tokenizer, transformer.model)
    # The artifact pads on the right
    refuse_dependence_on_padding(transformer.model, partial(_token_vectors, transformer.model), tokenizer, ("right",))
    cut = truncation(pipeline)
    module = SentenceEncoder(transformer.model, pooling, heads, cut)
    with_types = reads_token_types(transformer.model, fast_tokenizer)
    with bucket_lookup(transformer.model, tokenizer.max_tokens):
        graph = trace_in_blocks(
            transformer.model,
            tokenizer.max_tokens,
            lambda: trace(module, transformer.model.config.vocab_size, with_types, tokenizer.pad_token_id),
        )
    dim, normalized = checked_dimension(pipeline, graph), ends_normalized(heads, cut)
    spec = _describe(pipeline, transformer, pooling, dim, normalized=normalized)
    file = graph_file("model", EXACT)
    copy_configuration(folder, staging)
    save_tokenizer(fast_tokenizer, staging)
    save_graph(graph, staging, file)
    return EmbeddingExport(graph, file, tokenizer, spec)


def _token_vectors(model: Any, ids: Tensor, mask: Tensor) -> Tensor:
    tokens: Tensor = model(input_ids=ids, attention_mask=mask).last_hidden_state
    return tokens


class SentenceEncoder(nn.Module):
    """The whole pipeline as one module, from token ids to `token_embeddings` and `sentence_embedding`.

    :param cut: the number of first elements that vectors are cut to; None cuts nothing.
    """

    def __init__(
        self, encoder: nn.Module, pooling: Pooling, heads: Sequence[nn.Module], cut: int | None = None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleList(heads)
        self.modes = pooling_modes(pooling)
        self.include_prompt = pooling.include_prompt
        self.cut = cut

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        prompt_length: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Encode texts.

        :param input_ids: int64 `[batch, tokens]`, like `attention_mask` and `token_type_ids`.
        :param prompt_length: int64 `[1]`, the number of leading tokens that pooling skips.
        :return: float32 `[batch, tokens, hidden]` and `[batch, dim]`.
        """
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        tokens = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **types).last_hidden_state
        mask = attention_mask if prompt_length is None else without_prompt(attention_mask, prompt_length)
        sentence = torch.cat([POOLING[mode](tokens, mask, attention_mask) for mode in self.modes], dim=-1)
        for head in self.heads:
            sentence = head({"sentence_embedding": sentence})["sentence_embedding"]
        return tokens, sentence if self.cut is None else sentence[:, : self.cut]


def pooling_modes(pooling: Pooling) -> tuple[str, ...]:
    """Return the pooling modes of a `Pooling` module; the module concatenates the results of all its modes."""
    return (pooling.pooling_mode,) if isinstance(pooling.pooling_mode, str) else tuple(pooling.pooling_mode)


def trace(module: SentenceEncoder, vocab_size: int, with_types: bool, pad_id: int) -> ir.Model:
    """Trace a pipeline with the inputs that it has; the vocabulary has `vocab_size` tokens."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, vocab_size, (3, 7), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    ids[1, 5:] = pad_id
    inputs = {"input_ids": ids, "attention_mask": mask}
    if with_types:
        inputs["token_type_ids"] = torch.zeros_like(ids)
    dynamic: dict[str, dict[int, str]] = {name: {0: "batch", 1: "tokens"} for name in inputs}
    if not module.include_prompt:
        inputs["prompt_length"] = torch.tensor([2])
        dynamic["prompt_length"] = {}
    return export_module(module, inputs, ["token_embeddings", "sentence_embedding"], dynamic)


def _refuse_unknown_modules(folder: Path) -> str | None:
    """Check modules.json, and return the path of the encoder; None if the first module is no encoder.

    :raises BuildError: with the code `unsupported_model` or `source`.
    """
    listing = folder / "modules.json"
    if not listing.is_file():
        raise BuildError(
            "unsupported_model",
            f"{folder.name} has no modules.json, which names the pooling",
            hint="Name the pooling that its authors document with the option pooling (mean, cls, ...), or save "
            "it with sentence-transformers as a pipeline of Transformer and Pooling.",
        )
    try:
        modules = json.loads(listing.read_text(encoding="utf-8"))
        types = [str(module["type"]) for module in modules]
        outside = [str(module["path"]) for module in modules if not _is_inside(str(module["path"]))]
    except (ValueError, KeyError, TypeError) as error:
        raise BuildError("source", f"modules.json cannot be read: {error!r}") from error
    if outside:
        raise BuildError("source", f"modules.json names folders outside of the model: {', '.join(outside)}")
    if unknown := [name for name in types if not _is_supported(name)]:
        raise BuildError(
            "unsupported_model",
            f"modules that are not supported: {', '.join(unknown)}",
            expected=f"only {', '.join(_MODULE_NAMES)}",
        )
    return str(modules[0]["path"]) if types and types[0].endswith(".Transformer") else None


def _is_inside(path: str) -> bool:
    """Return whether the path of a module is relative and inside the model's folder; an empty path is the folder."""
    parts = PurePosixPath(path.replace("\\", "/"))
    return not parts.is_absolute() and ".." not in parts.parts and ":" not in path


def _is_supported(module_type: str) -> bool:
    """Return whether the dotted name of a class is one of sentence-transformers' supported modules."""
    return module_type.startswith("sentence_transformers.") and module_type.rpartition(".")[2] in _MODULE_NAMES


def _modules(pipeline: SentenceTransformer) -> tuple[Transformer, Pooling, list[nn.Module]]:
    modules: list[Any] = list(pipeline)
    problems = []
    if len(modules) < 2 or type(modules[0]) is not Transformer or type(modules[1]) is not Pooling:
        problems.append(
            f"a pipeline of {', '.join(type(module).__name__ for module in modules)}, "
            "not one that starts with Transformer and Pooling"
        )
    else:
        problems += _transformer_problems(modules[0])
    problems += [f"a {type(module).__name__} module" for module in modules[2:] if type(module) not in _HEADS]
    problems += [
        f"a {type(head).__name__} that reads {head.module_input_name}"
        for head in modules[2:]
        if getattr(head, "module_input_name", "sentence_embedding") != "sentence_embedding"
    ]
    if problems:
        raise BuildError("unsupported_model", f"the pipeline has {'; '.join(problems)}")
    return modules[0], modules[1], modules[2:]


def _transformer_problems(transformer: Transformer) -> list[str]:
    problems = []
    if transformer.transformer_task != "feature-extraction":
        problems.append(f"a transformer for {transformer.transformer_task}")
    if set(transformer.modality_config) != {"text"}:
        problems.append(
            f"the modalities {', '.join(map(str, transformer.modality_config))} where only text is supported"
        )
    elif transformer.modality_config["text"] != _TEXT_MODALITY:
        problems.append(f"other token vectors than the last hidden states ({transformer.modality_config['text']})")
    if transformer.query_expansion:
        problems.append("query expansion")
    tokenizer: Any = transformer.tokenizer
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        problems.append("a tokenizer that is not a fast one (no tokenizer.json)")
    elif tokenizer.pad_token is None:
        problems.append("a tokenizer without a padding token")
    else:
        problems += input_problems(transformer.model, tokenizer) + call_problems(transformer)
    return problems


def _describe(
    pipeline: SentenceTransformer, transformer: Transformer, pooling: Pooling, dim: int, *, normalized: bool
) -> EmbeddingSpec:
    prompts = {
        name: Prompt(text, transformer._get_prompt_length(text) or 0 if text else 0)
        for name, text in checked_prompts(pipeline).items()
    }
    default = pipeline.default_prompt_name
    similarity = getattr(pipeline.similarity_fn_name, "value", pipeline.similarity_fn_name) or "cosine"
    return EmbeddingSpec(
        dim=dim,
        pooling=pooling_modes(pooling),
        include_prompt=pooling.include_prompt,
        normalized=normalized,
        prompts=prompts,
        default_prompt=default if default in prompts else None,
        similarity=str(similarity),
    )


def copy_configuration(folder: Path, staging: Path) -> None:
    """Copy the original's configuration files and heads, so that other libraries can open the artifact too."""
    names = ["config.json", "modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"]
    listing = folder / "modules.json"
    modules = json.loads(listing.read_text(encoding="utf-8")) if listing.is_file() else []
    names += [f"{module['path']}/config.json" for module in modules if module["path"]]
    for name in dict.fromkeys(names):
        if (folder / name).is_file():
            save_config(folder, staging, name)
    for weights in sorted(path for kind in _HEADS for path in folder.glob(f"*_{kind.__name__}/*.safetensors")):
        copy = staging / weights.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(weights.read_bytes())

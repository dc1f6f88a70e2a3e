"""Checks of the original model of an encoder that reads texts: its inputs, its positions, and the effect of padding."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..artifacts.errors import BuildError
from ..artifacts.manifest_sections import TokenizerSpec
from ..artifacts.originals import original_errors

# The original's answer to token ids and mask, int64 `[batch, tokens]`: one vector per token, `[batch, tokens, n]`
Run = Callable[[Tensor, Tensor], Tensor]

_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
# Parameters of `forward` that neither a tokenizer of texts nor the original's pipeline sets
_UNSET = {
    *("inputs_embeds", "position_ids", "labels", "kwargs", "deprecated_arguments"),
    *("output_attentions", "output_hidden_states", "return_dict", "use_cache", "past_key_values", "cache_position"),
    *("encoder_hidden_states", "encoder_attention_mask", "head_mask", "logits_to_keep", "cache", "mems", "use_mems"),
    *("perm_mask", "target_mapping", "input_mask", "global_attention_mask", "lang_ids", "langs", "lengths"),
    *("task_type_ids", "is_causal"),
}
# Lengths of the texts that the padding check compares; the longest is cut to the model's limit
_LENGTHS = (1, 5, 17, 40, 130)
# Padding moves the answers of a model that ignores it by less than 1e-5, relative to their length, and those of
# ConvBERT, FNet, Nystromformer and YOSO by more than 1e-2
_TOLERANCE = 1e-3


def reads_token_types(model: Any, tokenizer: Any) -> bool:
    """Return whether the original uses token types: its tokenizer returns them, and its model embeds them."""
    count = int(getattr(model.config, "type_vocab_size", 0) or 0)
    parameters = inspect.signature(model.forward).parameters
    return "token_type_ids" in tokenizer.model_input_names and "token_type_ids" in parameters and count > 0


def input_problems(model: Any, tokenizer: Any) -> list[str]:
    """Return the inputs of a model and its tokenizer that are not token ids, attention mask or token types.

    A padding token that the model does not have, and a maximum number of tokens that is no number, are problems too.
    """
    limit = tokenizer.model_max_length
    if limit is not None and not isinstance(limit, (int, float)):
        return [f"a maximum number of tokens that is no number: {limit!r}"]
    others = {name for name in inspect.signature(model.forward).parameters if name not in _INPUTS | _UNSET}
    others |= {str(name) for name in tokenizer.model_input_names} - _INPUTS
    problems = [f"the inputs {', '.join(sorted(others))}"] if others else []
    if reads_token_types(model, tokenizer) and any(tokenizer("a", return_token_type_ids=True)["token_type_ids"]):
        problems.append("token types other than 0")
    rows = getattr(model.get_input_embeddings(), "num_embeddings", None)
    if rows is not None and tokenizer.pad_token_id is not None and tokenizer.pad_token_id >= rows:
        padding = f"{tokenizer.pad_token!r} with the id {tokenizer.pad_token_id}"
        problems.append(f"the padding token {padding}, where the model has only {rows} tokens")
    return problems


def position_count(model: nn.Module) -> int | None:
    """Return the number of tokens that a table of absolute positions allows; None for a model without a table.

    A table with a padding index has no positions for the entries up to it, and an offset skips as many entries.
    """
    counts = [table.num_embeddings - _position_offset(table) for table in _position_tables(model)]
    return min(counts, default=None)


def _position_tables(model: nn.Module) -> Iterator[Any]:
    for name, module in model.named_modules():
        own = name.rpartition(".")[2]
        is_absolute = own == "wpe" or ("position" in own and "relative" not in own)
        if is_absolute and isinstance(module, nn.Embedding):
            yield module


def _position_offset(table: nn.Embedding) -> int:
    if table.padding_idx is not None:
        return table.padding_idx + 1
    return int(getattr(table, "offset", 0))


def refuse_dependence_on_padding(model: nn.Module, run: Run, tokenizer: TokenizerSpec, sides: Iterable[str]) -> None:
    """Compare the original's answers for texts alone and padded in a batch.

    :param run: calls `model`.
    :param sides: where texts are padded, `left` or `right`.
    :raises BuildError: with the code `unsupported_model` if the answers differ.
    """
    config: Any = model.config
    for side in sides:
        if padding_changes(run, config.vocab_size, tokenizer.pad_token_id, tokenizer.max_tokens, side):
            raise BuildError(
                "unsupported_model",
                f"{type(model).__name__} itself answers differently when a text has padding on the {side}",
                hint="Set padding_side to right." if side == "left" else None,
            )


def padding_changes(run: Run, vocab_size: int, pad_id: int, max_tokens: int, side: str) -> bool:
    """Return whether the original answers differently for a text alone and for the same text padded in a batch.

    :param side: where the shorter texts are padded, `left` or `right`.
    """
    generator = torch.Generator().manual_seed(0)
    lengths = sorted({min(length, max_tokens) for length in _LENGTHS})
    ids = torch.full((len(lengths), lengths[-1]), pad_id)
    mask = torch.zeros_like(ids)
    rows = [slice(0, length) if side == "right" else slice(lengths[-1] - length, None) for length in lengths]
    for row, (length, columns) in enumerate(zip(lengths, rows, strict=True)):
        text = torch.randint(0, vocab_size - 1, (length,), generator=generator)
        ids[row, columns] = text + (text >= pad_id).long()  # any token but padding
        mask[row, columns] = 1
    with torch.no_grad(), original_errors("transformers"):
        padded = run(ids, mask)
        return any(
            _differs(run(ids[row : row + 1, columns], mask[row : row + 1, columns])[0], padded[row, columns])
            for row, columns in enumerate(rows)
        )


def _differs(alone: Tensor, padded: Tensor) -> bool:
    distance = (alone - padded).norm(dim=-1) / alone.norm(dim=-1).clamp(min=1e-6)
    return not bool((distance <= _TOLERANCE).all())  # also true for values that are not finite

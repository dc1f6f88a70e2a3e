"""Exports the buckets of DeBERTa's relative positions as a table, because engines compute some of them differently."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers.models.deberta_v2.modeling_deberta_v2 import DebertaV2Encoder


@contextmanager
def bucket_lookup(model: Any, max_tokens: int) -> Iterator[None]:
    """Inside this context, make a DeBERTa-v2 model look up the bucket of a distance in a table; ignore other models.

    DeBERTa rounds up a ratio of logarithms, which is a whole number at the largest distance. There, the last bit of the
    logarithm determines the bucket, and engines differ in that bit. The table contains the buckets that torch computes.

    :param max_tokens: the length of the longest text.
    """
    encoder: Any = getattr(getattr(model, "deberta", model), "encoder", None)
    is_deberta = isinstance(encoder, DebertaV2Encoder)
    if not is_deberta or not encoder.relative_attention:
        yield
        return
    table = _buckets(encoder, max_tokens)

    def look_up(
        hidden_states: Tensor, query_states: Tensor | None = None, relative_pos: Tensor | None = None
    ) -> Tensor:
        """Return the bucket of every distance (query position minus key position), int64 `[1, tokens, tokens]`."""
        indices = torch.arange(hidden_states.size(-2))
        return table[indices[:, None] - indices[None, :] + (max_tokens - 1)].unsqueeze(0)

    encoder.get_rel_pos = look_up
    try:
        yield
    finally:
        del encoder.get_rel_pos  # removes the instance attribute, so that the method of the class is used again


def _buckets(encoder: Any, max_tokens: int) -> Tensor:
    """Return the bucket of every distance from `1 - max_tokens` to `max_tokens - 1`, int64."""
    # The buckets depend only on the numbers of tokens, not on the values of the hidden states
    one, longest = torch.zeros(1, 1, 1), torch.zeros(1, max_tokens, 1)
    backward = encoder.get_rel_pos(one, longest)[0, :, 0]  # distances of queries that come after the key
    forward = encoder.get_rel_pos(longest, one)[0, 0, :]
    return torch.cat([forward.flip(0)[:-1], backward])

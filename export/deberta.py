"""DeBERTa's relative positions for export: looked up instead of computed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def bucket_lookup(model: Any, max_tokens: int) -> Iterator[None]:
    """Let a DeBERTa-v2 find the bucket of a distance in a table while it is exported; other models are left alone.

    DeBERTa rounds up a ratio of logarithms, which is a whole number at the largest distance: the last bit of an
    engine's logarithm would decide the bucket there, and engines differ in it. The table holds what torch says.
    """
    encoder = getattr(getattr(model, "deberta", None), "encoder", None)
    if encoder is None or not encoder.relative_attention:
        yield
        return
    table = _buckets(encoder, max_tokens)

    def look_up(
        hidden_states: Tensor, query_states: Tensor | None = None, relative_pos: Tensor | None = None
    ) -> Tensor:
        """Buckets int64 `[1, tokens, tokens]` of query position less key position."""
        indices = torch.arange(hidden_states.size(-2))
        return table[indices[:, None] - indices[None, :] + (max_tokens - 1)].unsqueeze(0)

    encoder.get_rel_pos = look_up
    try:
        yield
    finally:
        del encoder.get_rel_pos  # the class's own shows again


def _buckets(encoder: Any, max_tokens: int) -> Tensor:
    """The bucket of every distance from `1 - max_tokens` to `max_tokens - 1`, int64."""
    one, all_of_them = torch.zeros(1, 1, 1), torch.zeros(1, max_tokens, 1)
    backward = encoder.get_rel_pos(one, all_of_them)[0, :, 0]  # a query after its key
    forward = encoder.get_rel_pos(all_of_them, one)[0, 0, :]
    return torch.cat([forward.flip(0)[:-1], backward])

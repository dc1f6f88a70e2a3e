"""Pooling of token embeddings: the modes of sentence-transformers' `Pooling`, traceable and for both padding sides.

Parameters of every function: `tokens` float32 `[batch, tokens, hidden]`; `mask` int64 `[batch, tokens]`, 1 for the
tokens that are pooled; `full_mask` of the same shape, 1 for all tokens except padding, including those of a prompt. The
result is float32 `[batch, hidden]`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# The minimum divisor of a mean: sentence-transformers replaces smaller divisors by this value
_MIN_WEIGHT = 1e-9


def _positions(mask: Tensor) -> Tensor:
    return torch.arange(1, mask.shape[1] + 1, device=mask.device).unsqueeze(0)


def _select(tokens: Tensor, index: Tensor) -> Tensor:
    """Return the vector at position `index` `[batch]` of every sequence."""
    chosen = index.view(-1, 1, 1).expand(-1, 1, tokens.shape[2])
    return torch.gather(tokens, 1, chosen).squeeze(1)


def pool_cls(tokens: Tensor, mask: Tensor, full_mask: Tensor) -> Tensor:
    """Return the vector of the first pooled token."""
    return _select(tokens, mask.to(torch.int32).argmax(dim=1))


def pool_max(tokens: Tensor, mask: Tensor, full_mask: Tensor) -> Tensor:
    """Return the largest value of each channel over the pooled tokens."""
    return tokens.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).amax(dim=1)


def pool_mean(tokens: Tensor, mask: Tensor, full_mask: Tensor) -> Tensor:
    """Return the mean of the vectors of the pooled tokens."""
    weights = mask.unsqueeze(-1).to(tokens.dtype)
    return (tokens * weights).sum(1) / weights.sum(1).clamp(min=_MIN_WEIGHT)


def pool_mean_sqrt_len_tokens(tokens: Tensor, mask: Tensor, full_mask: Tensor) -> Tensor:
    """Return the sum of the vectors of the pooled tokens, divided by the square root of the number of tokens."""
    weights = mask.unsqueeze(-1).to(tokens.dtype)
    return (tokens * weights).sum(1) / weights.sum(1).clamp(min=_MIN_WEIGHT).sqrt()


def pool_weightedmean(tokens: Tensor, mask: Tensor, full_mask: Tensor) -> Tensor:
    """Return the mean of the vectors of the pooled tokens, weighted by position.

    The first token that is not padding has the position 1.
    """
    padding = full_mask.to(torch.int32).argmax(dim=1, keepdim=True)
    weights = (mask * (_positions(mask) - padding)).unsqueeze(-1).to(tokens.dtype)
    return (tokens * weights).sum(1) / weights.sum(1).clamp(min=_MIN_WEIGHT)


def pool_lasttoken(tokens: Tensor, mask: Tensor, full_mask: Tensor) -> Tensor:
    """Return the vector of the last pooled token."""
    last = (mask * _positions(mask)).to(torch.int32).argmax(dim=1)
    return _select(tokens * mask.unsqueeze(-1).to(tokens.dtype), last)


POOLING: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "cls": pool_cls,
    "max": pool_max,
    "mean": pool_mean,
    "mean_sqrt_len_tokens": pool_mean_sqrt_len_tokens,
    "weightedmean": pool_weightedmean,
    "lasttoken": pool_lasttoken,
}


def without_prompt(mask: Tensor, prompt_length: Tensor) -> Tensor:
    """Return `mask` with 0 for the first `prompt_length` (int64 `[1]`) tokens of every text."""
    padding = mask.to(torch.int32).argmax(dim=1, keepdim=True)
    kept = _positions(mask) > padding + prompt_length
    return mask * kept.to(mask.dtype)

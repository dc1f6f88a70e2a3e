"""The two networks of a summarizer as modules to trace: the encoder, and one step of the decoder.

Both read embeddings: the embedding table is shared and belongs to a separate part (`SummarizerParts`).

BART normalizes the sum of every sublayer and its input. mBART and Pegasus normalize the input of every sublayer instead
(`is_pre_norm`), and the result of the last one (`layer_norm`). Pegasus does not normalize the embeddings.

All beams of a text share one cache of the decoder's self-attention. It has one slot for every token that any beam has
read, and a mask marks the slots of each beam's own sequence. When a beam continues another beam, only rows of the mask
are copied. The keys and values of the source are also stored once for all beams of a text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...graphs.summarization.parts import MASKED


class SourceEncoder(nn.Module):
    """The encoder and, for every decoder layer, the keys and values of its cross-attention."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        encoder, decoder = model.model.encoder, model.model.decoder
        self.scale = _embedding_scale(encoder)
        self.positions = _position_embedding(encoder)
        self.norm = _optional(encoder, "layernorm_embedding")
        self.last_norm = _optional(encoder, "layer_norm")
        self.is_pre_norm = hasattr(encoder, "layer_norm")
        self.layers: Any = nn.ModuleList(encoder.layers)
        self.projections = nn.ModuleList(_qkv_projection(layer.self_attn) for layer in encoder.layers)
        self.cross: Any = nn.ModuleList(layer.encoder_attn for layer in decoder.layers)

    def forward(self, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        """Encode embedded texts.

        :param embeddings: float32 `[batch, tokens, hidden]`.
        :param attention_mask: int64 `[batch, tokens]`.
        :return: the mask `[batch, 1, 1, tokens]` that is added to attention scores, then for each decoder layer keys
            `[batch, heads, 1, head_size, tokens]` and values `[batch, heads, 1, tokens, head_size]`, float32.
        """
        mask = ((attention_mask - 1).to(embeddings.dtype) * -MASKED)[:, None, None, :]
        positions = torch.arange(embeddings.shape[1])[None]
        x = self.norm(embeddings * self.scale + self.positions(positions))
        for layer, projection in zip(self.layers, self.projections, strict=True):
            attend = partial(_encoder_attention, layer.self_attn, projection, mask)
            x = _sublayer(x, layer.self_attn_layer_norm, attend, self.is_pre_norm)
            x = _sublayer(x, layer.final_layer_norm, partial(_feed_forward, layer), self.is_pre_norm)
        x = self.last_norm(x)
        outputs = [mask]
        for attention in self.cross:
            outputs.append(_heads(attention.k_proj(x), attention).transpose(2, 3).unsqueeze(2))
            outputs.append(_heads(attention.v_proj(x), attention).unsqueeze(2))
        return tuple(outputs)


class DecoderStep(nn.Module):
    """The network that runs one step of the decoder: it reads one token of every beam of several texts."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        decoder = model.model.decoder
        self.scale = _embedding_scale(decoder)
        self.positions = _position_embedding(decoder)
        self.norm = _optional(decoder, "layernorm_embedding")
        self.last_norm = _optional(decoder, "layer_norm")
        self.is_pre_norm = hasattr(decoder, "layer_norm")
        self.layers: Any = nn.ModuleList(decoder.layers)
        self.projections = nn.ModuleList(_qkv_projection(layer.self_attn) for layer in decoder.layers)

    def forward(
        self,
        embeddings: Tensor,
        positions: Tensor,
        past_mask: Tensor,
        new_mask: Tensor,
        cross_mask: Tensor,
        past_keys: Sequence[Tensor],
        past_values: Sequence[Tensor],
        cross_keys: Sequence[Tensor],
        cross_values: Sequence[Tensor],
    ) -> tuple[Tensor, ...]:
        """Read one token of every beam; `SummarizerParts` describes the inputs and outputs of `step`."""
        beams, batch, hidden = embeddings.shape
        mask = torch.cat((past_mask, new_mask.expand(batch, -1, -1)), -1)
        scores_mask = mask[:, None]
        x = self.norm(embeddings * self.scale + self.positions(positions))
        caches: list[Tensor] = []
        for index, (layer, projection) in enumerate(zip(self.layers, self.projections, strict=True)):
            past, cross = (past_keys[index], past_values[index]), (cross_keys[index], cross_values[index])
            attend = partial(_self_attention, layer.self_attn, projection, scores_mask, past, caches)
            x = _sublayer(x, layer.self_attn_layer_norm, attend, self.is_pre_norm)
            attend_source = partial(_cross_attention, layer.encoder_attn, cross_mask, cross)
            x = _sublayer(x, layer.encoder_attn_layer_norm, attend_source, self.is_pre_norm)
            x = _sublayer(x, layer.final_layer_norm, partial(_feed_forward, layer), self.is_pre_norm)
        return self.last_norm(x).reshape(beams * batch, hidden), mask, *caches


def _sublayer(x: Tensor, norm: nn.Module, sublayer: Callable[[Tensor], Tensor], is_pre_norm: bool) -> Tensor:
    """Return the sum of a sublayer and its input; the norm is that of the input or that of the sum."""
    if is_pre_norm:
        return x + sublayer(norm(x))
    output: Tensor = norm(x + sublayer(x))
    return output


def _feed_forward(layer: Any, x: Tensor) -> Tensor:
    output: Tensor = layer.fc2(layer.activation_fn(layer.fc1(x)))
    return output


def _encoder_attention(attention: Any, projection: nn.Module, mask: Tensor, x: Tensor) -> Tensor:
    """Return the output `[batch, tokens, hidden]` of self-attention in the encoder."""
    q, k, v = (_heads(each, attention) for each in projection(x).chunk(3, -1))
    weights = torch.softmax(q @ k.transpose(2, 3) * attention.head_dim**-0.5 + mask, -1)
    output: Tensor = attention.out_proj((weights @ v).transpose(1, 2).flatten(2))
    return output


def _self_attention(
    attention: Any,
    projection: nn.Module,
    mask: Tensor,
    past: tuple[Tensor, Tensor],
    caches: list[Tensor],
    x: Tensor,
) -> Tensor:
    """Return the output `[beams, batch, hidden]` of self-attention in the decoder.

    :param caches: gets the cached keys and values, which include those of the tokens of this step.
    """
    beams, batch, _ = x.shape
    q, k, v = (each.view(beams, batch, attention.num_heads, -1) for each in projection(x).chunk(3, -1))
    keys, values = torch.cat((past[0], k), 0), torch.cat((past[1], v), 0)
    caches += [keys, values]
    scores = q.permute(1, 2, 0, 3) @ keys.permute(1, 2, 3, 0) * attention.head_dim**-0.5
    context = torch.softmax(scores + mask, -1) @ values.permute(1, 2, 0, 3)
    output: Tensor = attention.out_proj(_beams_first(context))
    return output


def _cross_attention(attention: Any, mask: Tensor, source: tuple[Tensor, Tensor], x: Tensor) -> Tensor:
    """Return the output `[beams, batch, hidden]` of attention over the keys and values of the source."""
    beams, batch, _ = x.shape
    q = attention.q_proj(x).view(beams, batch, attention.num_heads, -1).permute(1, 2, 0, 3)
    # A product of one row for each beam. ONNX Runtime copies the keys and the values of products of several rows to
    # pack them, which takes longer than the products.
    scores = (q.unsqueeze(3) @ source[0]).squeeze(3) * attention.head_dim**-0.5
    context = (torch.softmax(scores + mask, -1).unsqueeze(3) @ source[1]).squeeze(3)
    output: Tensor = attention.out_proj(_beams_first(context))
    return output


def _optional(network: Any, name: str) -> nn.Module:
    """Return a normalization of a network, or the identity if its architecture does not have it."""
    norm: nn.Module = getattr(network, name, None) or nn.Identity()
    return norm


def _embedding_scale(network: Any) -> float:
    """Return the factor of the token embeddings, which Pegasus has in the network and BART in the embedding."""
    owner = network if hasattr(network, "embed_scale") else network.embed_tokens
    return float(owner.embed_scale)


def _position_embedding(network: Any) -> nn.Embedding:
    """Return the position table without the unused rows that BART and mBART have before the first position."""
    table = network.embed_positions
    weight = table.weight.detach()[getattr(table, "offset", 0) :].clone()
    count, hidden = weight.shape
    return nn.Embedding(count, hidden, _weight=weight)


def _qkv_projection(attention: Any) -> nn.Linear:
    """Combine the query, key and value projections of an attention to one product, which reads its input once."""
    linears = [getattr(attention, f"{name}_proj") for name in "qkv"]
    merged = nn.Linear(linears[0].in_features, sum(linear.out_features for linear in linears))
    merged.weight = nn.Parameter(torch.cat([linear.weight.detach() for linear in linears]), requires_grad=False)
    merged.bias = nn.Parameter(torch.cat([linear.bias.detach() for linear in linears]), requires_grad=False)
    return merged


def _heads(x: Tensor, attention: Any) -> Tensor:
    """Split the heads: `[batch, tokens, hidden]` to `[batch, heads, tokens, head_size]`."""
    return x.view(x.shape[0], x.shape[1], attention.num_heads, -1).transpose(1, 2)


def _beams_first(context: Tensor) -> Tensor:
    """Merge the heads: `[batch, heads, beams, head_size]` to `[beams, batch, hidden]`."""
    return context.permute(2, 0, 1, 3).flatten(2)

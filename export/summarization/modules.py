"""The two networks of a BART checkpoint as modules to trace: the encoder, and one step of the decoder.

Both read embeddings: the embedding table is shared and belongs to a separate part (`SummarizerParts`).

All beams of a text share one cache of the decoder's self-attention. It has one slot for every token that any beam has
read, and a mask marks the slots of each beam's own sequence. When a beam continues another beam, only rows of the mask
are copied. The keys and values of the source are also stored once for all beams of a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...graphs.summarization.parts import MASKED


class SourceEncoder(nn.Module):
    """The encoder and, for every decoder layer, the keys and values of its cross-attention."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        encoder, decoder = model.model.encoder, model.model.decoder
        self.scale = float(encoder.embed_tokens.embed_scale)
        self.positions = _position_embedding(encoder)
        self.norm = encoder.layernorm_embedding
        self.layers: Any = nn.ModuleList(encoder.layers)
        self.projections = nn.ModuleList(_qkv_projection(layer.self_attn) for layer in encoder.layers)
        self.cross: Any = nn.ModuleList(layer.encoder_attn for layer in decoder.layers)

    def forward(self, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        """Encode embedded texts.

        :param embeddings: float32 `[batch, tokens, hidden]`.
        :param attention_mask: int64 `[batch, tokens]`.
        :return: the mask `[batch, 1, 1, tokens]` that is added to attention scores, then for each decoder layer keys
            `[batch, heads, head_size, tokens]` and values `[batch, heads, tokens, head_size]`, float32.
        """
        mask = ((attention_mask - 1).to(embeddings.dtype) * -MASKED)[:, None, None, :]
        positions = torch.arange(embeddings.shape[1])[None]
        x = self.norm(embeddings * self.scale + self.positions(positions))
        for layer, projection in zip(self.layers, self.projections, strict=True):
            q, k, v = (_heads(each, layer.self_attn) for each in projection(x).chunk(3, -1))
            weights = torch.softmax(q @ k.transpose(2, 3) * layer.self_attn.head_dim**-0.5 + mask, -1)
            context = (weights @ v).transpose(1, 2).flatten(2)
            x = layer.self_attn_layer_norm(x + layer.self_attn.out_proj(context))
            x = layer.final_layer_norm(x + layer.fc2(layer.activation_fn(layer.fc1(x))))
        outputs = [mask]
        for attention in self.cross:
            outputs.append(_heads(attention.k_proj(x), attention).transpose(2, 3))
            outputs.append(_heads(attention.v_proj(x), attention))
        return tuple(outputs)


class DecoderStep(nn.Module):
    """The network that runs one step of the decoder: it reads one token of every beam of several texts."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        decoder = model.model.decoder
        self.scale = float(decoder.embed_tokens.embed_scale)
        self.positions = _position_embedding(decoder)
        self.norm = decoder.layernorm_embedding
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
            past = past_keys[index], past_values[index]
            context, keys, values = _self_attention(layer.self_attn, projection, x, scores_mask, past)
            caches += [keys, values]
            x = layer.self_attn_layer_norm(x + context)
            cross = cross_keys[index], cross_values[index]
            x = layer.encoder_attn_layer_norm(x + _cross_attention(layer.encoder_attn, x, cross_mask, cross))
            x = layer.final_layer_norm(x + layer.fc2(layer.activation_fn(layer.fc1(x))))
        return x.reshape(beams * batch, hidden), mask, *caches


def _self_attention(
    attention: Any, projection: nn.Module, x: Tensor, mask: Tensor, past: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the output `[beams, batch, hidden]` of self-attention, and the cached keys and values.

    The returned cache includes the keys and values of the tokens of this step.
    """
    beams, batch, _ = x.shape
    q, k, v = (each.view(beams, batch, attention.num_heads, -1) for each in projection(x).chunk(3, -1))
    keys, values = torch.cat((past[0], k), 0), torch.cat((past[1], v), 0)
    scores = q.permute(1, 2, 0, 3) @ keys.permute(1, 2, 3, 0) * attention.head_dim**-0.5
    context = torch.softmax(scores + mask, -1) @ values.permute(1, 2, 0, 3)
    return attention.out_proj(_beams_first(context)), keys, values


def _cross_attention(attention: Any, x: Tensor, mask: Tensor, source: tuple[Tensor, Tensor]) -> Tensor:
    """Return the output `[beams, batch, hidden]` of attention over the keys and values of the source."""
    beams, batch, _ = x.shape
    q = attention.q_proj(x).view(beams, batch, attention.num_heads, -1).permute(1, 2, 0, 3)
    scores = q @ source[0] * attention.head_dim**-0.5
    context = torch.softmax(scores + mask, -1) @ source[1]
    output: Tensor = attention.out_proj(_beams_first(context))
    return output


def _position_embedding(network: Any) -> nn.Embedding:
    """Return the position table without the unused rows that BART has before the first position."""
    table = network.embed_positions
    weight = table.weight.detach()[table.offset :].clone()
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

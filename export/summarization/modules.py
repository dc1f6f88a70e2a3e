"""The two networks of a BART checkpoint as modules to trace: the encoder, and one step of the decoder.

Both take embedded tokens, since the table of embeddings is shared and belongs to neither.

The decoder's self-attention is over a *tree*: its cache holds one slot for every token that any beam has read, and a
mask says which slots are ancestors of which beam. Beams that change places then move nothing but mask rows, and keys
and values of the source are kept once for all beams of a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

# Far below every score, but finite: a row that is masked all over gives equal shares instead of NaN.
MASKED = -1e30


class SourceEncoder(nn.Module):
    """The encoder and, for every decoder layer, the keys and values of its attention to the source."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        encoder, decoder = model.model.encoder, model.model.decoder
        self.scale = float(encoder.embed_tokens.embed_scale)
        self.positions = _positions(encoder)
        self.norm = encoder.layernorm_embedding
        self.layers: Any = nn.ModuleList(encoder.layers)
        self.projections = nn.ModuleList(_joined(layer.self_attn, "qkv") for layer in encoder.layers)
        self.cross: Any = nn.ModuleList(layer.encoder_attn for layer in decoder.layers)

    def forward(self, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        """Encode float32 `[batch, tokens, hidden]` with int64 `[batch, tokens]`.

        :return: the mask `[batch, 1, 1, tokens]` to add to scores, then for each decoder layer keys
            `[batch, heads, size, tokens]` and values `[batch, heads, tokens, size]`, float32.
        """
        mask = ((attention_mask - 1).to(embeddings.dtype) * -MASKED)[:, None, None, :]
        places = torch.arange(embeddings.shape[1])[None]
        x = self.norm(embeddings * self.scale + self.positions(places))
        for layer, joined in zip(self.layers, self.projections, strict=True):
            q, k, v = (_heads(part, layer.self_attn) for part in joined(x).chunk(3, -1))
            weights = torch.softmax(q @ k.transpose(2, 3) * layer.self_attn.head_dim**-0.5 + mask, -1)
            context = (weights @ v).transpose(1, 2).flatten(2)
            x = layer.self_attn_layer_norm(x + layer.self_attn.out_proj(context))
            x = layer.final_layer_norm(x + layer.fc2(layer.activation_fn(layer.fc1(x))))
        found = [mask]
        for attention in self.cross:
            found.append(_heads(attention.k_proj(x), attention).transpose(2, 3))
            found.append(_heads(attention.v_proj(x), attention))
        return tuple(found)


class DecoderStep(nn.Module):
    """One step of the decoder for some beams of some texts."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        decoder = model.model.decoder
        self.scale = float(decoder.embed_tokens.embed_scale)
        self.positions = _positions(decoder)
        self.norm = decoder.layernorm_embedding
        self.layers: Any = nn.ModuleList(decoder.layers)
        self.projections = nn.ModuleList(_joined(layer.self_attn, "qkv") for layer in decoder.layers)

    def forward(
        self,
        embeddings: Tensor,
        places: Tensor,
        past_mask: Tensor,
        new_mask: Tensor,
        cross_mask: Tensor,
        past_keys: Sequence[Tensor],
        past_values: Sequence[Tensor],
        cross_keys: Sequence[Tensor],
        cross_values: Sequence[Tensor],
    ) -> tuple[Tensor, ...]:
        """Read one token for every beam.

        :param embeddings: float32 `[beams, batch, hidden]`.
        :param places: int64 `[beams, 1]`, the tokens' places in their sequences.
        :param past_mask: float32 `[batch, beams, slots]`, to add to scores: 0 for a beam's ancestors, else `MASKED`.
        :param new_mask: float32 `[beams, beams]`, the same for the tokens of this step.
        :param past_keys: for each layer float32 `[slots, batch, heads, size]`, and so `past_values`.
        :return: hidden states `[beams * batch, hidden]`, the mask `[batch, beams, slots + beams]`, then for each layer
            keys and values `[slots + beams, batch, heads, size]`.
        """
        beams, batch, hidden = embeddings.shape
        mask = torch.cat((past_mask, new_mask.expand(batch, -1, -1)), -1)
        scores_mask = mask[:, None]
        x = self.norm(embeddings * self.scale + self.positions(places))
        found: list[Tensor] = []
        for index, (layer, joined) in enumerate(zip(self.layers, self.projections, strict=True)):
            attention = layer.self_attn
            q, k, v = (part.view(beams, batch, attention.num_heads, -1) for part in joined(x).chunk(3, -1))
            keys, values = torch.cat((past_keys[index], k), 0), torch.cat((past_values[index], v), 0)
            found += [keys, values]
            scores = q.permute(1, 2, 0, 3) @ keys.permute(1, 2, 3, 0) * attention.head_dim**-0.5
            context = torch.softmax(scores + scores_mask, -1) @ values.permute(1, 2, 0, 3)
            x = layer.self_attn_layer_norm(x + attention.out_proj(_beams_first(context)))
            attention = layer.encoder_attn
            q = attention.q_proj(x).view(beams, batch, attention.num_heads, -1).permute(1, 2, 0, 3)
            scores = q @ cross_keys[index] * attention.head_dim**-0.5
            context = torch.softmax(scores + cross_mask, -1) @ cross_values[index]
            x = layer.encoder_attn_layer_norm(x + attention.out_proj(_beams_first(context)))
            x = layer.final_layer_norm(x + layer.fc2(layer.activation_fn(layer.fc1(x))))
        return x.reshape(beams * batch, hidden), mask, *found


def _positions(part: Any) -> nn.Embedding:
    """The table of positions without the rows that BART keeps before the first one."""
    table = part.embed_positions
    weight = table.weight.detach()[table.offset :].clone()
    places, hidden = weight.shape
    return nn.Embedding(places, hidden, _weight=weight)


def _joined(attention: Any, which: str) -> nn.Linear:
    """Several projections of an attention as one product, which reads its input once."""
    parts = [getattr(attention, f"{name}_proj") for name in which]
    joined = nn.Linear(parts[0].in_features, sum(part.out_features for part in parts))
    joined.weight = nn.Parameter(torch.cat([part.weight.detach() for part in parts]), requires_grad=False)
    joined.bias = nn.Parameter(torch.cat([part.bias.detach() for part in parts]), requires_grad=False)
    return joined


def _heads(x: Tensor, attention: Any) -> Tensor:
    """`[batch, tokens, hidden]` to `[batch, heads, tokens, size]`."""
    return x.view(x.shape[0], x.shape[1], attention.num_heads, -1).transpose(1, 2)


def _beams_first(context: Tensor) -> Tensor:
    """`[batch, heads, beams, size]` to `[beams, batch, hidden]`."""
    return context.permute(2, 0, 1, 3).flatten(2)

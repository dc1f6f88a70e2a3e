"""GLiNER's network in plain PyTorch, as its library defines it: the original that the exported graph is compared with.

It is written apart from the export, which rearranges the products. Here every span is scored by itself, one text at a
time, and the LSTM is PyTorch's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel
from transformers.models.auto import CONFIG_MAPPING


def _layers(size: int, out: int, factor: int = 4) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size, factor * out), nn.ReLU(), nn.Dropout(0), nn.Linear(factor * out, out))


class _TokenRepresentation(nn.Module):
    """The encoder, and a projection if the sizes differ."""

    bert_layer: Any
    projection: Any

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__()
        encoder = dict(values["encoder_config"])
        config = CONFIG_MAPPING[encoder.get("model_type", "deberta-v2")](**encoder)
        self.bert_layer = nn.Module()
        automatic: Any = AutoModel
        self.bert_layer.model = automatic.from_config(config, trust_remote_code=False)
        if config.hidden_size != values["hidden_size"]:
            self.projection = nn.Linear(config.hidden_size, values["hidden_size"])

    def forward(self, ids: Tensor) -> Tensor:
        """Return the states of the tokens of one text, float32 `[tokens, hidden]`."""
        mask = torch.ones_like(ids)[None]
        states: Tensor = self.bert_layer.model(input_ids=ids[None], attention_mask=mask).last_hidden_state[0]
        return self.projection(states) if hasattr(self, "projection") else states


class _SpanRepresentation(nn.Module):
    span_rep_layer: Any

    def __init__(self, size: int, span_mode: str) -> None:
        super().__init__()
        self.span_rep_layer = nn.Module()
        is_v0 = span_mode == "markerV0"
        self.span_rep_layer.project_start = _layers(size, size, 4 if is_v0 else 2)
        self.span_rep_layer.project_end = _layers(size, size, 4 if is_v0 else 2)
        self.span_rep_layer.out_project = _layers(2 * size, size) if is_v0 else nn.Linear(2 * size, size)

    def forward(self, first: Tensor, last: Tensor) -> Tensor:
        """Return the vectors of spans, from those of their first and last words."""
        layer = self.span_rep_layer
        ends = torch.cat([layer.project_start(first), layer.project_end(last)], dim=-1)
        vectors: Tensor = layer.out_project(ends.relu())
        return vectors


class Network(nn.Module):
    """The modules of a uni-encoder; `values` is the content of gliner_config.json."""

    rnn: Any
    scorer: Any
    span_rep_layer: Any
    prompt_rep_layer: Any

    def __init__(self, values: dict[str, Any]) -> None:
        """Create the modules with random weights."""
        super().__init__()
        size = values["hidden_size"]
        self.token_rep_layer = _TokenRepresentation(values)
        self.max_width = values.get("max_width", 12)
        if values.get("num_rnn_layers", 1) > 0:
            self.rnn = nn.Module()
            self.rnn.lstm = nn.LSTM(size, size // 2, bidirectional=True, batch_first=True)
        self.is_token = values["span_mode"] == "token_level"
        if self.is_token:
            self.scorer = nn.Module()
            self.scorer.proj_token, self.scorer.proj_label = nn.Linear(size, 2 * size), nn.Linear(size, 2 * size)
            hidden = [nn.Linear(3 * size, 4 * size), nn.Dropout(0), nn.ReLU()]
            self.scorer.out_mlp = nn.Sequential(*hidden, nn.Linear(4 * size, 3))
        else:
            self.span_rep_layer = _SpanRepresentation(size, values["span_mode"])
            self.prompt_rep_layer = _layers(size, size)

    @torch.no_grad()
    def forward(self, ids: Tensor, word_positions: list[int | None], label_positions: list[int]) -> Tensor:
        """Return the logits of one text.

        :param ids: int64 `[tokens]`.
        :param word_positions: the position of each word's first token, None for a word without one.
        :returns: float32 `[words, max_width, labels]` for spans, minus infinity for those beyond the last word;
            `[words, labels, 3]` for words, with start, end and inside.
        """
        states = self.token_rep_layer(ids)
        absent = torch.zeros(states.shape[1])
        words = torch.stack([absent if position is None else states[position] for position in word_positions])
        if hasattr(self, "rnn"):
            words = self.rnn.lstm(words[None])[0][0]
        labels = states[label_positions]
        return self._of_tokens(words, labels) if self.is_token else self._of_spans(words, labels)

    def _of_spans(self, words: Tensor, labels: Tensor) -> Tensor:
        count, width = len(words), self.max_width
        first, offset = torch.arange(count)[:, None], torch.arange(width)[None, :]
        last = first + offset
        spans = self.span_rep_layer(words[first.expand_as(last)], words[last.clamp(max=count - 1)])
        logits = torch.einsum("wkd,cd->wkc", spans, self.prompt_rep_layer(labels))
        return logits.masked_fill((last >= count)[:, :, None], -torch.inf)

    def _of_tokens(self, words: Tensor, labels: Tensor) -> Tensor:
        shape = (len(words), len(labels), -1)
        word, word_factor = self.scorer.proj_token(words)[:, None].expand(shape).chunk(2, dim=-1)
        label, label_factor = self.scorer.proj_label(labels)[None].expand(shape).chunk(2, dim=-1)
        logits: Tensor = self.scorer.out_mlp(torch.cat([word, label, word_factor * label_factor], dim=-1))
        return logits

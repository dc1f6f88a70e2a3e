"""The modules of GLiNER in PyTorch: those of a checkpoint, with its names of weights, and those that are exported.

The exported modules compute the same logits with fewer operations: the products of a span's start and of its end are
computed once for each word, and the last product of a span is folded into the vectors of the labels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import AutoModel

from ...graphs.files import OPSET

SPAN_MODES, TOKEN_MODE = ("markerV0", "marker"), "token_level"
# The factors of the widths of hidden layers
_WIDE, _NARROW = 4, 2


def _mlp(size: int, out: int, hidden: int) -> nn.Sequential:
    """Return two layers; the weights have the names of GLiNER's, which has a dropout as the third module."""
    return nn.Sequential(nn.Linear(size, hidden), nn.ReLU(), nn.Identity(), nn.Linear(hidden, out))


class Checkpoint(nn.Module):
    """The modules that span and token models share."""

    token_rep_layer: Any
    rnn: Any

    def __init__(self, config: Any) -> None:
        """Create the modules with random weights, for a `GlinerConfig`."""
        super().__init__()
        self.token_rep_layer = nn.Module()
        self.token_rep_layer.bert_layer = nn.Module()
        automatic: Any = AutoModel
        self.token_rep_layer.bert_layer.model = automatic.from_config(config.encoder, trust_remote_code=False)
        width = config.encoder.hidden_size
        self.token_rep_layer.projection = (
            nn.Identity() if width == config.hidden_size else nn.Linear(width, config.hidden_size)
        )
        if config.has_lstm:
            half = config.hidden_size // 2
            self.rnn = nn.Module()
            self.rnn.lstm = nn.LSTM(config.hidden_size, half, bidirectional=True, batch_first=True)

    @property
    def encoder(self) -> Any:
        """The encoder, a model of transformers."""
        return self.token_rep_layer.bert_layer.model


class SpanCheckpoint(Checkpoint):
    """The modules of the span modes `markerV0` and `marker`."""

    span_rep_layer: Any
    prompt_rep_layer: Any

    def __init__(self, config: Any) -> None:
        """Create the modules with random weights, for a `GlinerConfig`."""
        super().__init__(config)
        size, is_v0 = config.hidden_size, config.span_mode == "markerV0"
        hidden = size * (_WIDE if is_v0 else _NARROW)
        layer = nn.Module()
        layer.project_start = _mlp(size, size, hidden)
        layer.project_end = _mlp(size, size, hidden)
        layer.out_project = _mlp(2 * size, size, _WIDE * size) if is_v0 else nn.Linear(2 * size, size)
        self.span_rep_layer = nn.Module()
        self.span_rep_layer.span_rep_layer = layer
        self.prompt_rep_layer = _mlp(size, size, _WIDE * size)


class TokenCheckpoint(Checkpoint):
    """The modules of the span mode `token_level`."""

    scorer: Any

    def __init__(self, config: Any) -> None:
        """Create the modules with random weights, for a `GlinerConfig`."""
        super().__init__(config)
        size = config.hidden_size
        self.scorer = nn.Module()
        self.scorer.proj_token = nn.Linear(size, 2 * size)
        self.scorer.proj_label = nn.Linear(size, 2 * size)
        hidden = _WIDE * size
        self.scorer.out_mlp = nn.Sequential(nn.Linear(3 * size, hidden), nn.Identity(), nn.ReLU(), nn.Linear(hidden, 3))


class WordLstm(nn.Module):
    """A bidirectional LSTM over the words of texts of different lengths, as one LSTM operator of ONNX.

    PyTorch runs the texts as a packed sequence, which cannot be traced.
    """

    w: Tensor
    r: Tensor
    b: Tensor

    def __init__(self, lstm: nn.LSTM) -> None:
        """Copy the weights, whose gates ONNX has in another order."""
        super().__init__()
        self.hidden = lstm.hidden_size
        both = ("", "_reverse")
        weights = [_reordered(getattr(lstm, f"weight_ih_l0{each}")) for each in both]
        recurrent = [_reordered(getattr(lstm, f"weight_hh_l0{each}")) for each in both]
        names = ("bias_ih_l0", "bias_hh_l0")
        biases = [torch.cat([_reordered(getattr(lstm, f"{name}{each}")) for name in names]) for each in both]
        for name, tensors in {"w": weights, "r": recurrent, "b": biases}.items():
            self.register_buffer(name, torch.stack(tensors).detach())

    def forward(self, words: Tensor, lengths: Tensor) -> Tensor:
        """Return float32 `[batch, words, hidden]`; `lengths` has the number of words of each text."""
        batch, count = words.shape[:2]
        states, _, _ = torch.onnx.ops.symbolic_multi_out(
            "LSTM",
            (words.transpose(0, 1), self.w, self.r, self.b, lengths.to(torch.int32)),
            {"direction": "bidirectional", "hidden_size": self.hidden},
            dtypes=(words.dtype,) * 3,
            shapes=((count, 2, batch, self.hidden), (2, batch, self.hidden), (2, batch, self.hidden)),
            version=OPSET,
        )
        return states.permute(2, 0, 1, 3).flatten(2)


def _reordered(weight: Tensor) -> Tensor:
    """Return the gates of PyTorch (input, forget, cell, output) in the order of ONNX (input, output, forget, cell)."""
    i, f, c, o = weight.chunk(4)
    return torch.cat((i, o, f, c))


class EntityScorer(nn.Module):
    """Computes the vectors of words and labels; the base class of the exported modules."""

    projection: Any

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Use the modules of a checkpoint."""
        super().__init__()
        self.encoder = checkpoint.encoder
        self.projection = checkpoint.token_rep_layer.projection
        self.lstm = WordLstm(checkpoint.rnn.lstm) if hasattr(checkpoint, "rnn") else None

    def vectors(
        self, input_ids: Tensor, attention_mask: Tensor, word_positions: Tensor, label_positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the vectors of words and of labels, float32 `[batch, words, hidden]` and `[batch, labels, hidden]`.

        :param word_positions: the position of each word's first token, int64 `[batch, words]`: -1 for a word without a
            token, which has a vector of zeros, and -2 for padding.
        :param label_positions: the position of each label's token, int64 `[batch, labels]`.
        """
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        states = self.projection(states)
        words = _take(states, word_positions)
        if self.lstm is not None:
            words = self.lstm(words, (word_positions > -2).sum(1))
        return words, _take(states, label_positions)


def _take(states: Tensor, positions: Tensor) -> Tensor:
    """Return the states at positions `[batch, n]`, zeros where a position is negative."""
    index = positions.clamp(min=0)[:, :, None].expand(-1, -1, states.shape[2])
    return torch.gather(states, 1, index) * (positions >= 0).to(states.dtype)[:, :, None]


class SpanScorer(EntityScorer):
    """Scores every span of up to `max_width` words for every label."""

    project_start: Any
    project_end: Any
    prompt: Any
    last: Any
    start: Tensor
    end: Tensor
    bias: Tensor

    def __init__(self, checkpoint: SpanCheckpoint, max_width: int) -> None:
        """Use the modules of a checkpoint, and split the weight of `out_project` between start and end."""
        super().__init__(checkpoint)
        layer = checkpoint.span_rep_layer.span_rep_layer
        self.max_width = max_width
        self.project_start, self.project_end = layer.project_start, layer.project_end
        self.prompt = checkpoint.prompt_rep_layer
        is_deep = isinstance(layer.out_project, nn.Sequential)
        first = layer.out_project[0] if is_deep else layer.out_project
        start, end = first.weight.detach().chunk(2, dim=1)
        for name, tensor in {"start": start, "end": end, "bias": first.bias.detach()}.items():
            self.register_buffer(name, tensor.clone())
        self.last = layer.out_project[3] if is_deep else None

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, word_positions: Tensor, label_positions: Tensor
    ) -> Tensor:
        """Return the logits, float32 `[batch, words, max_width, labels]`, by the first word and the width minus 1.

        Spans that extend beyond the last word have logits without a meaning.
        """
        words, labels = self.vectors(input_ids, attention_mask, word_positions, label_positions)
        labels = self.prompt(labels)
        starts = linear(self.project_start(words).relu(), self.start, self.bias)
        ends = linear(self.project_end(words).relu(), self.end)
        count = words.shape[1]
        last = torch.arange(count)[:, None] + torch.arange(self.max_width)[None, :]
        ends = ends[:, last.clamp(max=count - 1)]
        spans = starts[:, :, None, :] + ends
        logits: Tensor
        if self.last is None:
            logits = spans @ labels.transpose(1, 2)[:, None]
        else:
            offset = labels @ self.last.bias
            logits = spans.relu() @ (labels @ self.last.weight).transpose(1, 2)[:, None] + offset[:, None, None, :]
        return logits


class TokenScorer(EntityScorer):
    """Scores every word as the start, the end and the inside of an entity of every label."""

    word: Any
    label: Any
    last: Any
    of_word: Tensor
    of_label: Tensor
    of_both: Tensor
    bias: Tensor

    def __init__(self, checkpoint: TokenCheckpoint) -> None:
        """Use the modules of a checkpoint, and split the weight of the first layer between words, labels and both."""
        super().__init__(checkpoint)
        self.word, self.label = checkpoint.scorer.proj_token, checkpoint.scorer.proj_label
        first = checkpoint.scorer.out_mlp[0]
        of_word, of_label, of_both = first.weight.detach().chunk(3, dim=1)
        tensors = {"of_word": of_word, "of_label": of_label, "of_both": of_both, "bias": first.bias.detach()}
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.clone())
        self.last = checkpoint.scorer.out_mlp[3]

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, word_positions: Tensor, label_positions: Tensor
    ) -> Tensor:
        """Return the logits, float32 `[batch, words, labels, 3]`; the last axis has start, end and inside."""
        words, labels = self.vectors(input_ids, attention_mask, word_positions, label_positions)
        word, word_factor = self.word(words).chunk(2, dim=-1)
        label, label_factor = self.label(labels).chunk(2, dim=-1)
        hidden = linear(word, self.of_word)[:, :, None] + linear(label, self.of_label, self.bias)[:, None]
        hidden = hidden + linear(word_factor[:, :, None] * label_factor[:, None], self.of_both)
        logits: Tensor = self.last(hidden.relu())
        return logits

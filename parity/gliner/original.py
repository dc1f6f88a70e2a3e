"""The original of a GLiNER model: its network in plain PyTorch, with the tokenizer of transformers.

GLiNER's library is not used, because it requires an older transformers. tests/parity/test_gliner.py compares this
module and the artifacts with the answers of that library.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoTokenizer

from ...artifacts.families.gliner import CHECKPOINT_CONFIG
from ...artifacts.ner import ExpectedEntity
from ...artifacts.originals import original_errors
from ...runtime.gliner.windows import WordRange, plan_windows
from ..ner.original import OriginalEntities
from .network import Network

_WORD = re.compile(r"\w+(?:[-_]\w+)*|\S")
# Weights are in the first of these files that exists
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class GlinerSettings:
    """All settings of a call."""

    labels: tuple[str, ...]
    threshold: float
    nested: bool
    multi_label: bool
    stride: int


@dataclass(frozen=True)
class OriginalAnswer(OriginalEntities):
    """The original's answer; `margin` is the smallest difference between a probability and the threshold."""

    margin: float


@dataclass(frozen=True)
class _Found:
    """A possible entity: its first and last word, the index of its label, and its score."""

    first: int
    last: int
    label: int
    score: float


class OriginalGliner:
    """A checkpoint in PyTorch, in float32 on the CPU."""

    def __init__(self, folder: Path, max_tokens: int) -> None:
        """Load a checkpoint.

        :param max_tokens: the artifact's limit in tokens, which is set for the tokenizer.
        """
        self._values = json.loads((folder / CHECKPOINT_CONFIG).read_text(encoding="utf-8"))
        self._tokenizer: Any = AutoTokenizer.from_pretrained(
            str(folder), trust_remote_code=False, local_files_only=True, model_max_length=max_tokens
        )
        self._max_tokens = max_tokens
        self.network = Network(self._values)
        tensors = _read_weights(folder)
        self.network.load_state_dict({name: tensors[name] for name in self.network.state_dict()})
        self.network.eval()

    @original_errors("PyTorch")
    def entities(self, text: str, settings: GlinerSettings) -> OriginalAnswer:
        """Find the entities of one text; the windows of a long text are separate runs."""
        offsets = [match.span() for match in _WORD.finditer(text)]
        words = [text[start:end] for start, end in offsets]
        counts = self._counts(words)
        found: list[_Found] = []
        tokens, margin = 0, 1.0
        room = self._max_tokens - self._fixed(settings.labels)
        for window in plan_windows(counts, self._values.get("max_len", 384), room, settings.stride):
            ids, logits = self.logits(words[window.start : window.end], settings.labels)
            tokens += len(ids)
            probabilities = logits.sigmoid()
            margin = min(margin, float((probabilities - settings.threshold).abs().min()))
            found += self._own(probabilities, settings.threshold, window)
        entities = tuple(
            ExpectedEntity(offsets[each.first][0], offsets[each.last][1], settings.labels[each.label], each.score)
            for each in greedy_search(found, nested=settings.nested, multi_label=settings.multi_label)
        )
        return OriginalAnswer(entities, tokens, bool((counts > room).any()), margin)

    def logits(self, words: list[str], labels: tuple[str, ...]) -> tuple[Tensor, Tensor]:
        """Return the token ids of a prompt with words, int64 `[tokens]`, and the logits; see `Network.forward`."""
        prompt = self._prompt(labels)
        encoded = self._tokenizer(prompt + words, is_split_into_words=True, truncation=True, return_tensors="pt")
        ids = encoded["input_ids"][0]
        positions: list[int] = []
        previous = None
        for position, word in enumerate(encoded.word_ids(0)):
            if word is not None and word != previous:
                positions.append(position)
            previous = word
        known: list[int | None] = [*positions[len(prompt) :]]
        marked = (ids == self._values["class_token_index"]).nonzero()[: len(labels), 0]
        marked = marked if self._values.get("embed_ent_token", True) else marked + 1
        return ids, self.network(ids, known + [None] * (len(words) - len(known)), marked.tolist())

    def _prompt(self, labels: tuple[str, ...]) -> list[str]:
        marker, end = self._values.get("ent_token", "<<ENT>>"), self._values.get("sep_token", "<<SEP>>")
        return [word for label in labels for word in (marker, label) if word] + [end]

    def _counts(self, words: list[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the number of tokens of every word."""
        counts = np.zeros(len(words), np.int64)
        if words:
            encoded = self._tokenizer(
                words, is_split_into_words=True, truncation=False, add_special_tokens=False, verbose=False
            )
            np.add.at(counts, encoded.word_ids(0), 1)
        return counts

    def _fixed(self, labels: tuple[str, ...]) -> int:
        """Return the number of tokens of the prompt, special tokens included."""
        return len(
            self._tokenizer(self._prompt(labels), is_split_into_words=True, truncation=False, verbose=False)[
                "input_ids"
            ]
        )

    def _own(self, probabilities: Tensor, threshold: float, window: WordRange) -> list[_Found]:
        find = _token_spans if self.network.is_token else _scored_spans
        found = [
            _Found(each.first + window.start, each.last + window.start, each.label, each.score)
            for each in find(probabilities, threshold)
        ]
        return [each for each in found if window.own_start <= each.first < window.own_end]


def _read_weights(folder: Path) -> dict[str, Tensor]:
    file = next(folder / name for name in _WEIGHTS if (folder / name).is_file())
    if file.suffix == ".safetensors":
        return load_file(file)
    weights: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return weights


def _scored_spans(probabilities: Tensor, threshold: float) -> list[_Found]:
    """Return the spans above the threshold; `probabilities` is `[words, max_width, labels]`."""
    indices = (probabilities > threshold).nonzero().tolist()
    return [
        _Found(first, first + width, label, float(probabilities[first, width, label]))
        for first, width, label in indices
    ]


def _token_spans(probabilities: Tensor, threshold: float) -> list[_Found]:
    """Return the spans whose start, end and words are probable; `probabilities` is `[words, labels, 3]`."""
    found = []
    ends = (probabilities[..., 1] > threshold).nonzero().tolist()
    values = probabilities.tolist()
    for first, label in (probabilities[..., 0] > threshold).nonzero().tolist():
        for last, other in ends:
            if last >= first and label == other:
                inside = [values[word][label][2] for word in range(first, last + 1)]
                if min(inside) >= threshold:
                    score = min(*inside, values[first][label][0], values[last][label][1])
                    found.append(_Found(first, last, label, score))
    return found


def greedy_search(found: list[_Found], *, nested: bool, multi_label: bool) -> list[_Found]:
    """Keep the entities with the highest scores that fit together; compares each with all that were kept."""
    kept: list[_Found] = []
    for each in sorted(found, key=lambda one: -one.score):
        if not any(_conflict(each, other, nested=nested, multi_label=multi_label) for other in kept):
            kept.append(each)
    return sorted(kept, key=lambda one: one.first)


def _conflict(a: _Found, b: _Found, *, nested: bool, multi_label: bool) -> bool:
    if (a.first, a.last) == (b.first, b.last):
        return not multi_label
    if a.first > b.last or b.first > a.last:
        return False
    is_inside = (a.first <= b.first and a.last >= b.last) or (b.first <= a.first and b.last >= a.last)
    return not (nested and is_inside)

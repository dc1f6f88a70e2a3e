"""Turn texts and labels into the inputs of the graph: tokens, and the positions of words and labels in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...artifacts.errors import ArtifactError, ConfigError
from ...artifacts.families.gliner import MIN_TEXT_SHARE, GlinerSpec
from ...artifacts.manifest_sections import TokenizerSpec
from ..array_equality import ArrayEquality
from ..tokenizer import TextTokenizer, run_tokenizer
from .windows import WordRange, plan_windows
from .words import WordSplitter

# The position of a word without a token, and that of padding
_NO_TOKEN, _PADDING = -1, -2


@dataclass(frozen=True, eq=False)
class Prompt(ArrayEquality):
    """The tokens before a text, which name the labels.

    `ids` are its tokens with the special tokens before them, int64 `[n]`; `suffix` are the special tokens after the
    text. `label_positions` is int64 `[labels]`. `words` is the number of words of the prompt; `word_positions` has the
    position of the first token of each of them that has a token, int64.
    """

    labels: tuple[str, ...]
    ids: NDArray[np.int64]
    suffix: NDArray[np.int64]
    label_positions: NDArray[np.int64]
    words: int
    word_positions: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class GlinerWindow(ArrayEquality):
    """One window of a text, with its prompt.

    `ids` is int64 `[tokens]`, `word_positions` int64 `[words]`, `label_positions` int64 `[labels]`. `words` are the
    words of the window in its text.
    """

    ids: NDArray[np.int64]
    word_positions: NDArray[np.int64]
    label_positions: NDArray[np.int64]
    words: WordRange


@dataclass(frozen=True, eq=False)
class GlinerText(ArrayEquality):
    """The windows of a text, and the offsets of its words in characters, int64 `[words, 2]`.

    `truncated` is true if a word was too long for a window.
    """

    words: NDArray[np.int64]
    windows: tuple[GlinerWindow, ...]
    truncated: bool

    @property
    def tokens(self) -> int:
        """The number of tokens of all windows, special tokens and prompts included."""
        return sum(len(window.ids) for window in self.windows)


@dataclass(frozen=True, eq=False)
class _Encoded(ArrayEquality):
    """The tokens of a list of words without special tokens.

    `ids` is int64 `[tokens]`. The words that have tokens are `words`, and their first tokens have the indices `starts`.
    """

    ids: NDArray[np.int64]
    words: NDArray[np.int64]
    starts: NDArray[np.int64]


class GlinerPreprocessor:
    """The tokenizer of an artifact, and its characters of words. Thread-safe."""

    def __init__(self, tokenizer: TextTokenizer, splitter: WordSplitter, spec: GlinerSpec) -> None:
        """Look up the token of labels.

        :raises ArtifactError: with the code `tokenizer` if the tokenizer lacks a token of the prompt.
        """
        self.tokenizer, self.splitter, self.spec = tokenizer, splitter, spec
        vocabulary = tokenizer.untruncated()
        missing = [
            token for token in (spec.entity_token, spec.separator_token) if vocabulary.token_to_id(token) is None
        ]
        if missing:
            raise ArtifactError("tokenizer", f"the tokenizer lacks {' and '.join(missing)}")
        self._entity_id = vocabulary.token_to_id(spec.entity_token)

    @classmethod
    def read(cls, folder: Path, tokenizer: TokenizerSpec, spec: GlinerSpec) -> GlinerPreprocessor:
        """Read the files in the folder of an artifact.

        :raises ArtifactError: with the code `tokenizer`.
        """
        return cls(TextTokenizer(folder / tokenizer.file, tokenizer), WordSplitter.read(folder / spec.words), spec)

    def prompt(self, labels: Sequence[str]) -> Prompt:
        """Return the prompt for labels, which must differ from each other.

        :raises ConfigError: if the labels contain the token of the prompt, or leave too little space for a text.
        """
        words = [word for label in labels for word in (self.spec.entity_token, label) if word]
        words.append(self.spec.separator_token)
        encoding = self._encode([words], special=True)[0]
        own = np.flatnonzero(np.array(encoding.special_tokens_mask, np.int8) == 0)
        first, end = (int(own[0]), int(own[-1]) + 1) if len(own) else (0, 0)
        ids = np.array(encoding.ids, np.int64)
        positions = np.flatnonzero(ids[:end] == self._entity_id)
        if len(positions) != len(labels):
            raise ConfigError("labels", expected=f"labels without {self.spec.entity_token}", actual=_shown(labels))
        limit = self.tokenizer.max_text_tokens - self._min_room()
        if end - first > limit:
            raise ConfigError("labels", expected=f"at most {limit} tokens in all labels", actual=f"{end - first}")
        is_next = self.spec.label_vector == "next_token"
        encoded = _encoded(ids[first:end], encoding.word_ids[first:end])
        return Prompt(
            tuple(labels),
            ids[:end],
            ids[end:],
            positions + 1 if is_next else positions,
            len(words),
            encoded.starts + first,
        )

    def _min_room(self) -> int:
        """Return the number of tokens of a window that labels must leave to the text."""
        return max(1, self.tokenizer.max_text_tokens // MIN_TEXT_SHARE)

    def windows(self, text: str, prompt: Prompt, stride: int) -> GlinerText:
        """Divide one text into windows; see `all_windows`."""
        return self.all_windows([text], prompt, stride)[0]

    def all_windows(self, texts: Sequence[str], prompt: Prompt, stride: int) -> list[GlinerText]:
        """Divide texts into windows that share `stride` words, each with the prompt.

        A text without words has no window.
        """
        offsets = [self.splitter.split(text) for text in texts]
        words = [[text[a:b] for a, b in spans.tolist()] for text, spans in zip(texts, offsets, strict=True)]
        encodings = self._encode(words, special=False)
        return [
            self._text(spans, _encoded(np.array(each.ids, np.int64), each.word_ids), prompt, stride)
            for spans, each in zip(offsets, encodings, strict=True)
        ]

    def _encode(self, words: Sequence[Sequence[str]], *, special: bool) -> list[Any]:
        """Return the library's `Encoding` of each list of words, without truncation."""
        tokenizer = self.tokenizer.untruncated()
        encode = partial(tokenizer.encode_batch, is_pretokenized=True, add_special_tokens=special)
        return run_tokenizer(encode, [list(each) for each in words])

    def _text(self, offsets: NDArray[np.int64], encoded: _Encoded, prompt: Prompt, stride: int) -> GlinerText:
        room = self.tokenizer.spec.max_tokens - len(prompt.ids) - len(prompt.suffix)
        ends = np.append(encoded.starts, len(encoded.ids))
        counts = np.zeros(len(offsets), np.int64)
        counts[encoded.words] = np.diff(ends)
        ranges = plan_windows(counts, self.spec.max_words, room, stride)
        windows = tuple(_window(words, encoded, ends, prompt, room) for words in ranges)
        return GlinerText(offsets, windows, bool((counts > room).any()))

    def feeds(self, windows: Sequence[GlinerWindow]) -> dict[str, NDArray[np.int64]]:
        """Return the inputs of the graph for windows with equally many labels, by name."""
        ids, mask = self.tokenizer.pad(windows)
        words = np.full((len(windows), max(len(each.word_positions) for each in windows)), _PADDING, np.int64)
        for row, window in enumerate(windows):
            words[row, : len(window.word_positions)] = window.word_positions
        labels = np.stack([window.label_positions for window in windows])
        return {"input_ids": ids, "attention_mask": mask, "word_positions": words, "label_positions": labels}


def _encoded(ids: NDArray[np.int64], word_ids: Sequence[int]) -> _Encoded:
    words = np.array(word_ids, np.int64)
    starts = np.flatnonzero(np.append(True, words[1:] != words[:-1])[: len(words)])
    return _Encoded(ids, words[starts], starts)


def _window(words: WordRange, encoded: _Encoded, ends: NDArray[np.int64], prompt: Prompt, room: int) -> GlinerWindow:
    """Return one window.

    GLiNER numbers the words that have tokens, those of the prompt included. If one before a word has no token, the word
    gets the number of the next one, and the last words have no position.

    :param ends: where the tokens of each word with tokens start, and the number of all tokens.
    """
    first, last = np.searchsorted(encoded.words, [words.start, words.end])
    start, end = int(ends[first]), int(ends[last])
    shift = len(prompt.ids) - start
    end = min(end, start + room)
    ids = np.concatenate([prompt.ids, encoded.ids[start:end], prompt.suffix])
    own = encoded.starts[first:last]
    known = np.concatenate([prompt.word_positions, own[own < end] + shift])[prompt.words :]
    positions = np.full(words.end - words.start, _NO_TOKEN, np.int64)
    positions[: len(known)] = known
    return GlinerWindow(ids, positions, prompt.label_positions, words)


def _shown(labels: Sequence[str]) -> str:
    text = ", ".join(labels)
    return text if len(text) <= 80 else f"{text[:80]}..."

"""Split texts into windows of tokens; every token has its offsets in the text."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ...artifacts.families.token_classification import TokenClassificationSpec
from ..array_equality import ArrayEquality
from ..forking import call_after_fork
from ..tokenizer import TextTokenizer

# Maximum number of cached tokenizers, one for each stride; each has a copy of the vocabulary.
_MAX_STRIDES = 4
_SPACE = 0x20

# A function of the ids, starts and ends of tokens that returns which tokens continue the word of the previous token.
Subwords = Callable[[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]], NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class Window(ArrayEquality):
    """Consecutive tokens of one text.

    `ids`, int64 `[tokens]`, includes special tokens. `scored` holds the indices in `ids` of all tokens that are not
    special. The other arrays have one element for each token in `scored`: `starts` and `ends` are offsets in
    characters, int32, and `subwords` marks tokens that continue the word of the previous token.
    """

    ids: NDArray[np.int64]
    scored: NDArray[np.intp]
    starts: NDArray[np.int32]
    ends: NDArray[np.int32]
    subwords: NDArray[np.bool_]


@dataclass(frozen=True)
class TextWindows:
    """The windows of one text, in the order of the tokenizers library.

    `truncated` is true if the text has one window and the tokens after this window were dropped.
    """

    windows: tuple[Window, ...]
    truncated: bool

    @property
    def tokens(self) -> int:
        """The number of tokens of all windows, special tokens included."""
        return sum(len(window.ids) for window in self.windows)


class WindowTokenizer:
    """Splits texts into windows of tokens for a token classification model. Thread-safe."""

    def __init__(self, tokenizer: TextTokenizer, spec: TokenClassificationSpec) -> None:
        """Wrap the artifact's tokenizer; it is copied on the first use of each stride."""
        self.tokenizer = tokenizer
        self._unknown = -1 if spec.unk_token_id is None else spec.unk_token_id
        self._token_lengths = tokenizer.token_lengths() if spec.subwords == "length" else None
        self._strided: OrderedDict[int, Tokenizer] = OrderedDict()
        self._lock = threading.Lock()
        call_after_fork(self)

    def _after_fork(self) -> None:
        """Replace the lock and what it protects in a child process."""
        self._lock = threading.Lock()
        self._strided = OrderedDict()

    def tokenize(self, texts: Sequence[str], stride: int | None) -> list[TextWindows]:
        """Split every text into windows of at most `max_tokens` tokens; the result has the order of the texts.

        :param stride: number of tokens that consecutive windows share, less than the tokenizer's `max_text_tokens`;
            None truncates every text to one window.
        """
        if stride is None:
            encoded = self.tokenizer.encode_with_offsets(texts)
            return [
                TextWindows((_window(encoding, kept, self._subword_rule(text)),), truncated)
                for text, (encoding, kept, truncated) in zip(texts, encoded, strict=True)
            ]
        windows = self.tokenizer.encode_windows(texts, self._with_stride(stride))
        return [self._text_windows(text, encodings) for text, encodings in zip(texts, windows, strict=True)]

    def _text_windows(self, text: str, encodings: Sequence[Any]) -> TextWindows:
        rule = self._subword_rule(text)
        return TextWindows(tuple(_window(encoding, slice(None), rule) for encoding in encodings), False)

    def _with_stride(self, stride: int) -> Tokenizer:
        """Return the cached tokenizer for a stride; a full cache drops the least recently used one."""
        with self._lock:
            if stride not in self._strided:
                self._strided[stride] = self.tokenizer.with_stride(stride)
            self._strided.move_to_end(stride)
            while len(self._strided) > _MAX_STRIDES:
                self._strided.popitem(last=False)
            return self._strided[stride]

    def _subword_rule(self, text: str) -> Subwords:
        """Return the function that finds the subwords of a text, by length or by spaces, as the manifest specifies."""
        lengths, unknown = self._token_lengths, self._unknown
        if lengths is not None:
            return lambda ids, starts, ends: (lengths[ids] != ends - starts) & (ids != unknown)
        inside = _offsets_inside_words(text)
        return lambda ids, starts, _: inside[starts] & (ids != unknown)


def _offsets_inside_words(text: str) -> NDArray[np.bool_]:
    """Return, for each offset of a text, whether neither neighbor is a space (U+0020): bool `[characters + 1]`.

    The offset 0 is not inside a word.
    """
    spaces = np.frombuffer(text.encode("utf-32-le"), np.uint32) == _SPACE
    inside = np.ones(len(spaces) + 1, np.bool_)
    inside[0] = False
    inside[:-1] &= ~spaces
    inside[1:] &= ~spaces
    return inside


def _window(encoding: Any, kept: slice, subwords: Subwords) -> Window:
    """Return the window that consists of the tokens `kept` of an `Encoding`."""
    ids = np.array(encoding.ids[kept], np.int64)
    scored = np.flatnonzero(np.array(encoding.special_tokens_mask[kept], np.int8) == 0)
    offsets = np.array(encoding.offsets[kept], np.int32).reshape(-1, 2)[scored]
    starts, ends = np.ascontiguousarray(offsets.T)
    return Window(ids, scored, starts, ends, subwords(ids[scored], starts, ends))

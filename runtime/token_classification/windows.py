"""Texts to windows of tokens with their places in the text."""

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
from ..tokenizer import TextTokenizer

# A tokenizer is set to one stride, and every copy holds a vocabulary: the least recently used one is given up.
_MAX_STRIDES = 4
_WHITESPACE = 0x20

# Of tokens with these ids, starts and ends: which go on with the word before them.
Subwords = Callable[[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]], NDArray[np.bool_]]


@dataclass(frozen=True)
class Window:
    """A run of one text's tokens; `ids` int64 `[tokens]` holds special tokens too.

    `scored` are the places in `ids` of the others; `starts`, `ends` (characters, int32) and `subwords` (whether one
    goes on with the word before it) speak of those alone.
    """

    ids: NDArray[np.int64]
    scored: NDArray[np.intp]
    starts: NDArray[np.int32]
    ends: NDArray[np.int32]
    subwords: NDArray[np.bool_]


@dataclass(frozen=True)
class TextWindows:
    """The windows of one text in the library's order, and whether the text was cut to its only one."""

    windows: tuple[Window, ...]
    truncated: bool

    @property
    def tokens(self) -> int:
        """Tokens of all windows together, special tokens included."""
        return sum(len(window.ids) for window in self.windows)


class WindowTokenizer:
    """Tokenizes texts for a token classifier. Thread-safe."""

    def __init__(self, tokenizer: TextTokenizer, spec: TokenClassificationSpec) -> None:
        """Use the artifact's tokenizer; copies of it are made for strides, when they are first asked for."""
        self.tokenizer = tokenizer
        self._unknown = -1 if spec.unk_token_id is None else spec.unk_token_id
        self._piece_lengths = tokenizer.piece_lengths() if spec.subwords == "length" else None
        self._strided: OrderedDict[int, Tokenizer] = OrderedDict()
        self._lock = threading.Lock()

    def cut(self, texts: Sequence[str], stride: int | None) -> list[TextWindows]:
        """Cut every text to one window, or with a stride into as many as it takes.

        :param stride: tokens that a window shares with the one before, below the tokenizer's `room`.
        """
        if stride is None:
            encoded = self.tokenizer.encode_with_offsets(texts)
            return [
                TextWindows((_window(encoding, part, self._subword_rule(text)),), truncated)
                for text, (encoding, part, truncated) in zip(texts, encoded, strict=True)
            ]
        windows = self.tokenizer.encode_windows(texts, self._with_stride(stride))
        return [self._text_windows(text, parts) for text, parts in zip(texts, windows, strict=True)]

    def _text_windows(self, text: str, encodings: Sequence[Any]) -> TextWindows:
        rule = self._subword_rule(text)
        return TextWindows(tuple(_window(encoding, slice(None), rule) for encoding in encodings), False)

    def _with_stride(self, stride: int) -> Tokenizer:
        with self._lock:
            if stride not in self._strided:
                self._strided[stride] = self.tokenizer.with_stride(stride)
            self._strided.move_to_end(stride)
            while len(self._strided) > _MAX_STRIDES:
                self._strided.popitem(last=False)
            return self._strided[stride]

    def _subword_rule(self, text: str) -> Subwords:
        lengths, unknown = self._piece_lengths, self._unknown
        if lengths is not None:
            return lambda ids, starts, ends: (lengths[ids] != ends - starts) & (ids != unknown)
        joined = _joined_offsets(text)
        return lambda ids, starts, _: joined[starts] & (ids != unknown)


def _joined_offsets(text: str) -> NDArray[np.bool_]:
    """For every place in a text and the one after it whether it follows another character and touches no blank."""
    whitespace = np.frombuffer(text.encode("utf-32-le"), np.uint32) == _WHITESPACE
    joined = np.ones(len(whitespace) + 1, np.bool_)
    joined[0] = False
    joined[:-1] &= ~whitespace
    joined[1:] &= ~whitespace
    return joined


def _window(encoding: Any, part: slice, subwords: Subwords) -> Window:
    ids = np.array(encoding.ids[part], np.int64)
    scored = np.flatnonzero(np.array(encoding.special_tokens_mask[part], np.int8) == 0)
    indices = np.array(encoding.offsets[part], np.int32).reshape(-1, 2)[scored]
    starts, ends = np.ascontiguousarray(indices.T)
    return Window(ids, scored, starts, ends, subwords(ids[scored], starts, ends))

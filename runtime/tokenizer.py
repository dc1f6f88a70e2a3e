"""Texts to padded token ids with the model's own tokenizer.json."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ..artifacts.errors import ArtifactError, InferenceError, InputError
from ..artifacts.manifest_sections import TokenizerSpec

DEFAULT_TEXT_LIMIT = 1_000_000


@dataclass(frozen=True)
class Tokens:
    """The token ids of one text, special tokens included, and whether the text was cut to the limit."""

    ids: tuple[int, ...]
    truncated: bool


class HasIds(Protocol):
    """What can be padded: token ids, special tokens included."""

    @property
    def ids(self) -> Sequence[int] | NDArray[np.int64]:
        """The ids, in order."""


class TextTokenizer:
    """Tokenizes as the manifest says; `room` is how many tokens of text fit beside the special ones.

    May be used from several threads.
    """

    def __init__(self, path: Path, spec: TokenizerSpec) -> None:
        """Load tokenizer.json and hold it against the manifest, or raise `tokenizer`."""
        self.spec = spec
        self._tokenizer = _load(path)
        vocab_size = self._tokenizer.get_vocab_size(with_added_tokens=True)
        pad_id = self._tokenizer.token_to_id(spec.pad_token)
        if (vocab_size, pad_id) != (spec.vocab_size, spec.pad_token_id):
            raise ArtifactError(
                "tokenizer",
                f"{spec.file} is not the model's",
                expected=f"{spec.vocab_size} tokens, {spec.pad_token} = {spec.pad_token_id}",
                got=f"{vocab_size} tokens, {spec.pad_token} = {pad_id}",
            )
        specials = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        self.room = spec.max_tokens - specials
        if self.room < 1:
            raise ArtifactError(
                "tokenizer", "max_tokens leaves no room for text", expected=f"more than {specials}", got=spec.max_tokens
            )
        self._tokenizer.no_padding()
        # The library stops reading at the limit, and without special tokens it then forgets to say that it cut.
        self._cuts_itself = specials == 0
        limit = spec.max_tokens + 1 if self._cuts_itself else spec.max_tokens
        self._tokenizer.enable_truncation(limit, direction=spec.truncation_side)
        self._lock = threading.Lock()
        self._whole: Tokenizer | None = None

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokenize every text; the result has the order of `texts`."""
        encodings = _run(self._tokenizer.encode_batch_fast, texts)
        cuts = [self._cut(len(encoding.ids), bool(encoding.overflowing)) for encoding in encodings]
        return [Tokens(tuple(encoding.ids[part]), cut) for encoding, (part, cut) in zip(encodings, cuts, strict=True)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text that token ids stand for, special tokens left out."""
        (text,) = _run(lambda _: [self._tokenizer.decode(list(ids), skip_special_tokens=True)], ())
        return str(text)

    def count(self, text: str) -> int:
        """Tokens of the whole text, special tokens included, however long it is."""
        return len(_run(self.untruncated().encode_batch_fast, [text])[0].ids)

    def untruncated(self) -> Tokenizer:
        """The library's tokenizer without truncation and padding; it must not be changed."""
        with self._lock:
            if self._whole is None:  # a copy holds a vocabulary of its own: most models never need it
                self._whole = copy.deepcopy(self._tokenizer)
                self._whole.no_truncation()
            return self._whole

    def encode_with_offsets(self, texts: Sequence[str]) -> list[tuple[Any, slice, bool]]:
        """As `encode`, but with places in the text: the library's own encoding of each text.

        The slice says which of its tokens are within the limit, the flag whether the text was cut.
        """
        encodings = _run(self._tokenizer.encode_batch, texts)
        return [(encoding, *self._cut(len(encoding.ids), bool(encoding.overflowing))) for encoding in encodings]

    def encode_windows(self, texts: Sequence[str], strided: Tokenizer) -> Iterator[list[Any]]:
        """The library's encodings of the windows of one text after the other; `strided` is what `with_stride` gave."""
        encodings = _run(strided.encode_batch, texts)[::-1]
        while encodings:  # the library copies windows when they are asked for: those of one text at a time
            encoding = encodings.pop()
            yield [encoding, *encoding.overflowing]

    def with_stride(self, stride: int) -> Tokenizer:
        """A copy whose windows share `stride` tokens, which must be below `room`; it has a vocabulary of its own."""
        strided = copy.deepcopy(self._tokenizer)
        strided.enable_truncation(self.spec.max_tokens, stride=stride, direction=self.spec.truncation_side)
        return strided

    def piece_lengths(self) -> NDArray[np.int32]:
        """Characters of the piece of every id, int32 `[ids]`."""
        ids = self._tokenizer.get_vocab(with_added_tokens=True).values()
        pieces = (self._tokenizer.id_to_token(index) for index in range(max(ids, default=-1) + 1))
        return np.array([len(piece or "") for piece in pieces], np.int32)

    def _cut(self, count: int, truncated: bool) -> tuple[slice, bool]:
        """Which of `count` tokens are within the limit, and whether any text is lost."""
        limit = self.spec.max_tokens
        if not self._cuts_itself or count <= limit:
            return slice(None), truncated
        return slice(0, limit) if self.spec.truncation_side == "right" else slice(count - limit, count), True

    def pad(self, batch: Sequence[HasIds]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ids and attention mask, each int64 `[batch, longest]`, padded on the right as FORMAT.md wants it."""
        longest = max(len(tokens.ids) for tokens in batch)
        ids = np.full((len(batch), longest), self.spec.pad_token_id, np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens.ids)] = tokens.ids
            mask[row, : len(tokens.ids)] = 1
        return ids, mask


def check_text(text: object, index: int | None, limit: int) -> str:
    """Refuse what no tokenizer takes: other types, lone surrogates, texts over `limit` bytes of UTF-8."""
    if not isinstance(text, str):
        raise InputError("input_type", "not a string", index=index, expected="str", got=type(text).__name__)
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise InputError("input_text", f"lone surrogate at character {error.start}", index=index) from error
    if size > limit:
        raise InputError("input_too_large", "too large", index=index, expected=f"at most {limit} bytes", got=size)
    return text


def _run(encode: Callable[[list[str]], list[Any]], texts: Sequence[str]) -> list[Any]:
    try:
        return encode(list(texts))
    except BaseException as error:
        raise _typed_panic(error, InferenceError(f"the tokenizer failed: {error}")) from error


def _load(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path))
    except BaseException as error:
        raise _typed_panic(error, ArtifactError("tokenizer", f"{path.name} cannot be loaded: {error}")) from error


def _typed_panic(error: BaseException, typed: Exception) -> BaseException:
    """`typed` for ordinary errors and for panics, which pyo3 hides from `except Exception`; else the error itself."""
    if isinstance(error, Exception) or type(error).__name__ == "PanicException":
        return typed
    return error

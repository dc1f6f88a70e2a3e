"""Turn texts into padded token ids with the tokenizer.json of an artifact."""

from __future__ import annotations

import copy
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import BPE

from ..artifacts.errors import ArtifactError, InferenceError, InputError
from ..artifacts.manifest_sections import TokenizerSpec
from .cancellation import Watch
from .forking import call_after_fork

logger = logging.getLogger(__name__)

# The library reads this variable for every batch of texts
_PARALLELISM = "TOKENIZERS_PARALLELISM"
# A text, or its words
Text = TypeVar("Text", str, list[str])
# The texts that are tokenized together, between two checks whether the call was stopped: the library keeps all tokens
# of each, also those that are cut off
_STEP_TEXTS, _STEP_CHARACTERS = 256, 1 << 20


@dataclass(frozen=True)
class Tokens:
    """The token ids of one text, special tokens included, and whether the text was truncated to `max_tokens`."""

    ids: tuple[int, ...]
    truncated: bool


class HasIds(Protocol):
    """An object with the token ids of one text or window, which `TextTokenizer.pad` accepts."""

    @property
    def ids(self) -> Sequence[int] | NDArray[np.int64]:
        """The token ids, special tokens included."""


@dataclass(frozen=True, eq=False)
class WholeText:
    """All tokens of a text without special tokens: `ids`, int64 `[n]`, and their offsets in characters, int64 `[n]`.

    `prefix` and `suffix` are the special tokens before and after them, int64.
    """

    ids: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    prefix: NDArray[np.int64]
    suffix: NDArray[np.int64]


class TextTokenizer:
    """The tokenizer of an artifact, with the truncation and padding that its manifest specifies. Thread-safe.

    `max_text_tokens` is the maximum number of tokens without special tokens.
    """

    def __init__(self, path: Path, spec: TokenizerSpec) -> None:
        """Load tokenizer.json and compare it with the manifest.

        :raises ArtifactError: with the code `tokenizer` if the file cannot be loaded or does not match the manifest.
        """
        self.spec = spec
        self._tokenizer = _load(path)
        vocab_size = self._tokenizer.get_vocab_size(with_added_tokens=True)
        pad_id = self._tokenizer.token_to_id(spec.pad_token)
        if (vocab_size, pad_id) != (spec.vocab_size, spec.pad_token_id):
            raise ArtifactError(
                "tokenizer",
                f"{spec.file} does not match the manifest",
                expected=f"{spec.vocab_size} tokens, {spec.pad_token} = {spec.pad_token_id}",
                actual=f"{vocab_size} tokens, {spec.pad_token} = {pad_id}",
            )
        specials = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        self.max_text_tokens = spec.max_tokens - specials
        if self.max_text_tokens < 1:
            raise ArtifactError(
                "tokenizer",
                "max_tokens leaves no room for text",
                expected=f"more than {specials}",
                actual=spec.max_tokens,
            )
        self._tokenizer.no_padding()
        # For a tokenizer without special tokens the library does not report that it truncated a text. It is therefore
        # given a limit higher by one: a text with more than `max_tokens` tokens is truncated here, by `_within_limit`.
        self._truncates_itself = specials == 0
        limit = spec.max_tokens + 1 if self._truncates_itself else spec.max_tokens
        self._tokenizer.enable_truncation(limit, direction=spec.truncation_side)
        self._lock = threading.Lock()
        self._untruncated: Tokenizer | None = None
        call_after_fork(self)

    def _after_fork(self) -> None:
        """Replace the lock and what it protects in a child process."""
        self._lock = threading.Lock()
        self._untruncated = None

    def encode(self, texts: Sequence[str], watch: Watch | None = None) -> list[Tokens]:
        """Tokenize texts; the result has their order. Texts with more than `max_tokens` tokens are truncated.

        :param watch: can stop the call between texts.
        :raises StoppedError: if the watch stopped the call.
        """
        tokens: list[Tokens] = []
        for step in steps(texts, watch):
            for encoding in run_tokenizer(self._tokenizer.encode_batch_fast, step):
                kept, truncated = self._within_limit(encoding)
                tokens.append(Tokens(tuple(encoding.ids[kept]), truncated))
        return tokens

    def decode(self, ids: Sequence[int]) -> str:
        """Convert token ids to text; special tokens are left out."""
        (text,) = run_tokenizer(lambda _: [self._tokenizer.decode(list(ids), skip_special_tokens=True)], ())
        return str(text)

    def count(self, text: str) -> int:
        """Return the number of tokens of the whole text, special tokens included, without truncation."""
        return len(run_tokenizer(self.untruncated().encode_batch_fast, [text])[0].ids)

    def encode_whole(self, text: str) -> WholeText:
        """Tokenize a text without truncation."""
        (encoding,) = run_tokenizer(self.untruncated().encode_batch, [text])
        ids = np.array(encoding.ids, np.int64)
        offsets = np.array(encoding.offsets, np.int64).reshape(-1, 2)
        own = np.flatnonzero(np.array(encoding.special_tokens_mask, np.int8) == 0)
        first, end = (int(own[0]), int(own[-1]) + 1) if len(own) else (len(ids), len(ids))
        starts, ends = offsets[first:end].T
        return WholeText(ids[first:end], starts, ends, ids[:first], ids[end:])

    def untruncated(self) -> Tokenizer:
        """Return a tokenizer of the tokenizers library without truncation and padding; callers must not modify it."""
        with self._lock:
            if self._untruncated is None:  # created on first use, because it copies the vocabulary and is rarely needed
                self._untruncated = copy.deepcopy(self._tokenizer)
                self._untruncated.no_truncation()
            return self._untruncated

    def encode_with_offsets(self, texts: Sequence[str]) -> list[tuple[Any, slice, bool]]:
        """Tokenize texts with the offsets of their tokens.

        :returns: for each text, the library's `Encoding`, the slice of its tokens that are within `max_tokens`, and
            whether the text was truncated.
        """
        encodings = run_tokenizer(self._tokenizer.encode_batch, texts)
        return [(encoding, *self._within_limit(encoding)) for encoding in encodings]

    def encode_windows(self, texts: Sequence[str], strided: Tokenizer) -> Iterator[list[Any]]:
        """Yield, for each text, the library's `Encoding` of each of its windows.

        :param strided: a tokenizer that `with_stride` returned.
        """
        encodings = run_tokenizer(strided.encode_batch, texts)[::-1]
        while encodings:  # `overflowing` copies the windows of a text; the loop keeps the copies of one text
            encoding = encodings.pop()
            yield [encoding, *encoding.overflowing]

    def with_stride(self, stride: int) -> Tokenizer:
        """Return a copy of the tokenizer that splits long texts into windows of `max_tokens` tokens.

        :param stride: number of tokens that consecutive windows share, less than `max_text_tokens`.
        """
        strided = copy.deepcopy(self._tokenizer)
        strided.enable_truncation(self.spec.max_tokens, stride=stride, direction=self.spec.truncation_side)
        return strided

    def token_lengths(self) -> NDArray[np.int32]:
        """Return the number of characters of every token of the vocabulary, by id: int32 `[ids]`."""
        ids = self._tokenizer.get_vocab(with_added_tokens=True).values()
        tokens = (self._tokenizer.id_to_token(index) for index in range(max(ids, default=-1) + 1))
        return np.array([len(token or "") for token in tokens], np.int32)

    def _within_limit(self, encoding: Any) -> tuple[slice, bool]:
        """Return the slice of an encoding's tokens that are within `max_tokens`, and whether the text was truncated."""
        count, limit = len(encoding.ids), self.spec.max_tokens
        if not self._truncates_itself or count <= limit:
            return slice(None), bool(encoding.overflowing)
        return slice(0, limit) if self.spec.truncation_side == "right" else slice(count - limit, count), True

    def pad(self, batch: Sequence[HasIds]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the token ids and attention mask of a batch, each int64 `[batch, max_length]`, padded on the right."""
        # A batch of texts without tokens has one column of padding, because runtimes refuse tensors without elements
        longest = max([1, *(len(tokens.ids) for tokens in batch)])
        ids = np.full((len(batch), longest), self.spec.pad_token_id, np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens.ids)] = tokens.ids
            mask[row, : len(tokens.ids)] = 1
        return ids, mask


def steps(texts: Sequence[str], watch: Watch | None = None) -> Iterator[Sequence[str]]:
    """Divide texts into those that are tokenized together, in their order.

    :param watch: can stop the call before each of them.
    :raises StoppedError: if the watch stopped the call.
    """
    start = characters = 0
    for end, text in enumerate([*texts, None]):
        is_full = end - start == _STEP_TEXTS or (text is not None and characters + len(text) > _STEP_CHARACTERS)
        if end > start and (text is None or is_full):
            if watch is not None:
                watch.check()
            yield texts[start:end]
            start, characters = end, 0
        characters += len(text or "")


def check_text(text: object, index: int | None, limit: int) -> str:
    """Return the text if it can be tokenized.

    :param index: the index of the text in the call, for the error; None for a single text.
    :param limit: maximum size in bytes of UTF-8.
    :raises InputError: if it is not a string, contains a lone surrogate or is too large.
    """
    if not isinstance(text, str):
        raise InputError("input_type", "not a string", index=index, expected="str", actual=type(text).__name__)
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise InputError(
            "input_text", f"the text has a lone surrogate at character {error.start}", index=index
        ) from error
    if size > limit:
        raise InputError(
            "input_too_large", "the text is too large", index=index, expected=f"at most {limit} bytes", actual=size
        )
    return text


def run_tokenizer(encode: Callable[[list[Text]], list[Any]], texts: Sequence[Text]) -> list[Any]:
    """Call an encode function of the tokenizers library on texts; its errors and panics become `InferenceError`.

    The library starts its threads once for each process. If the system refuses one, it panics in this call and in all
    later ones with several texts. From then on it is used without threads.
    """
    try:
        return encode(list(texts))
    except BaseException as error:
        if "ThreadPoolBuildError" not in str(error):
            raise _failure(error) from error
    _use_one_thread()
    try:
        return encode(list(texts))
    except BaseException as error:
        raise _failure(error) from error


def _failure(error: BaseException) -> BaseException:
    return typed_panic(error, InferenceError(f"the tokenizer failed: {error}"))


def _use_one_thread() -> None:
    if os.environ.get(_PARALLELISM) != "false":
        os.environ[_PARALLELISM] = "false"
        logger.warning("the system refuses the threads of tokenizers: this process tokenizes with one from now on")


def _load(path: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except BaseException as error:
        raise typed_panic(error, ArtifactError("tokenizer", f"{path.name} cannot be loaded: {error}")) from error
    if isinstance(tokenizer.model, BPE):
        # Every thread would keep the words of every BPE model that it has used, also after the model is gone: 5 MB each
        tokenizer.model._resize_cache(0)
    return tokenizer


def typed_panic(error: BaseException, typed: Exception) -> BaseException:
    """Return the exception to raise for an error of the tokenizers library.

    This is `typed` for an `Exception` and for a panic of Rust code, which pyo3 raises as a `PanicException` that is no
    `Exception`. Any other error, such as `KeyboardInterrupt`, is returned unchanged.
    """
    if isinstance(error, Exception) or type(error).__name__ == "PanicException":
        return typed
    return error

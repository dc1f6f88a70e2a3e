"""The word types met so far: what the networks see of them, computed once for each.

A *lexeme* is a text with a norm; its number is its place in the lexicon. Documents hold numbers of lexemes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ...artifacts.families.spacy_ner import HashColumn, SpacyNetwork
from .hashing import murmur64a, row_words
from .rules import Rules, SpecialToken
from .tables import Tables

AnyScalar = TypeVar("AnyScalar", bound=np.generic)
_FIRST_CAPACITY = 4096
# Prefixes, suffixes and shapes repeat, so their numbers are remembered; forgotten all at once when they are too many.
_MAX_STRINGS = 100_000


class Lexicon:
    """Grows as texts are tokenized, and only grows: numbers stay valid as long as the lexicon is in use."""

    def __init__(self, rules: Rules, tables: Tables, networks: Sequence[SpacyNetwork]) -> None:
        """Start empty."""
        self.texts: list[str] = []
        self.characters = 0
        self._norms: list[str | None] = []
        self._numbers: dict[SpecialToken, int] = {}
        self._strings: dict[str, int] = {}
        self._rules, self._tables = rules, tables
        columns = {column for network in networks for column in network.columns if column.attribute != "SPACY"}
        self._columns = sorted(columns, key=lambda column: (column.attribute, column.rows, column.seed))
        self._rows: NDArray[np.int32] = np.empty((_FIRST_CAPACITY, 4 * len(self._columns)), np.int32)
        self._vectors: NDArray[np.int32] = np.empty(_FIRST_CAPACITY, np.int32)
        self._lengths: NDArray[np.int64] = np.empty(_FIRST_CAPACITY, np.int64)
        self._spaces: NDArray[np.bool_] = np.empty(_FIRST_CAPACITY, np.bool_)
        self._known = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Number of lexemes."""
        return len(self.texts)

    def number(self, token: SpecialToken) -> int:
        """The number of a lexeme, a new one for a new lexeme."""
        number = self._numbers.get(token)
        return self._add(token) if number is None else number

    def numbers(self, tokens: Iterable[SpecialToken]) -> tuple[int, ...]:
        """The numbers of several lexemes."""
        return tuple(map(self.number, tokens))

    def lengths(self, lexemes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Length in characters of each lexeme."""
        return self._lengths[lexemes]

    def is_space(self, lexemes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each lexeme is whitespace."""
        return self._spaces[lexemes]

    def rows(self, lexemes: NDArray[np.int64], spaces: NDArray[np.bool_], network: SpacyNetwork) -> NDArray[np.int32]:
        """`rows` of types, int32 `[types, 4 * columns]`; `spaces` says which have a trailing space."""
        self._complete()
        parts = []
        for column in network.columns:
            if column.attribute == "SPACY":
                words = row_words(np.array([0, 1], np.uint64), column.seed) % np.uint64(column.rows)
                parts.append(words.astype(np.int32)[spaces.astype(np.intp)])
            else:
                position = 4 * self._columns.index(column)
                parts.append(self._rows[lexemes, position : position + 4])
        return np.concatenate(parts, axis=1)

    def vectors(self, lexemes: NDArray[np.int64]) -> NDArray[np.int32]:
        """Row of each lexeme in the table of static vectors, or -1."""
        self._complete()
        return self._vectors[lexemes]

    def _add(self, token: SpecialToken) -> int:
        with self._lock:
            number = self._numbers.get(token)
            if number is None:
                number = len(self.texts)
                text, norm = token
                self._reserve(number + 1)
                self._lengths[number] = len(text)
                self._spaces[number] = self._rules.characters.is_space(text)
                self._norms.append(norm)
                self.texts.append(text)
                self.characters += len(text)
                self._numbers[token] = number  # last: whoever finds it may use it
            return number

    def _complete(self) -> None:
        """Compute the rows that are not yet computed, for all new lexemes together."""
        if self._known == len(self.texts):
            return
        with self._lock:
            new = range(self._known, len(self.texts))
            for index, column in enumerate(self._columns):
                self._rows[new.start : new.stop, 4 * index : 4 * index + 4] = self._column_rows(column, new)
            if self._tables.vector_keys is not None:
                texts = self.texts[new.start : new.stop]
                ids = np.array([self.string_id(text) for text in texts], np.uint64)
                self._vectors[new.start : new.stop] = self._tables.vector_rows_of(ids)
            self._known = new.stop

    def _reserve(self, size: int) -> None:
        """Make room; readers in other threads keep the arrays that they have."""
        if size > len(self._lengths):
            capacity = max(size, 2 * len(self._lengths))
            self._rows = grown(self._rows, capacity)
            self._vectors = grown(self._vectors, capacity)
            self._lengths = grown(self._lengths, capacity)
            self._spaces = grown(self._spaces, capacity)

    def _column_rows(self, column: HashColumn, lexemes: range) -> NDArray[np.int32]:
        numbers = np.array(self._attribute(column.attribute, lexemes), np.uint64)
        return (row_words(numbers, column.seed) % np.uint64(column.rows)).astype(np.int32)

    def _attribute(self, name: str, lexemes: range) -> list[int]:
        """An attribute of lexemes as numbers (FORMAT.md, "Attributes")."""
        rules, texts = self._rules, self.texts[lexemes.start : lexemes.stop]
        if name == "IS_SPACE":
            return [int(rules.characters.is_space(text)) for text in texts]
        if name == "NORM":
            norms = self._norms[lexemes.start : lexemes.stop]
            return [
                self._norm(text) if norm is None else self.string_id(norm)
                for text, norm in zip(texts, norms, strict=True)
            ]
        part = _PARTS[name]
        return [self.string_id(part(rules, text)) for text in texts]

    def _norm(self, text: str) -> int:
        found = self._tables.norm_of(self.string_id(text))
        return self.string_id(self._rules.characters.to_lower(text)) if found is None else found

    def string_id(self, text: str) -> int:
        """A string as a number: by symbol, else by hash."""
        number = self._strings.get(text)
        if number is None:
            number = self._rules.symbols.get(text, -1) if text else 0
            if number < 0:
                number = murmur64a(text.encode())
            if len(self._strings) >= _MAX_STRINGS:
                self._strings.clear()
            self._strings[text] = number
        return number


def grown(array: NDArray[AnyScalar], capacity: int) -> NDArray[AnyScalar]:
    """A copy with room for more rows, which hold anything."""
    larger = np.empty((capacity, *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger


_PARTS: dict[str, Callable[[Rules, str], str]] = {
    "ORTH": lambda rules, text: text,
    "LOWER": lambda rules, text: rules.characters.to_lower(text),
    "PREFIX": lambda rules, text: text[0],
    "SUFFIX": lambda rules, text: text[-3:],
    "SHAPE": lambda rules, text: rules.characters.shape(text),
}

"""The lexicon: all distinct tokens of the texts so far, for each of which network inputs are computed only once.

A *lexeme* is the text of a token and its norm, if a special case sets one. Documents refer to lexemes by their index in
the lexicon.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ...artifacts.families.spacy_ner import HashColumn, SpacyNetwork
from .hashing import hash_words, murmur64a
from .rules import Rules, SpecialToken
from .tables import Tables

AnyScalar = TypeVar("AnyScalar", bound=np.generic)
_FIRST_CAPACITY = 4096
# Many lexemes share prefixes, suffixes and shapes, so spaCy's ids (hashes) of strings are cached; a full cache is
# emptied.
_MAX_STRINGS = 100_000


class Lexicon:
    """An append-only list of lexemes. Thread-safe; an index stays valid as long as the lexicon lives.

    `texts` holds the text of every lexeme, `total_characters` the sum of their lengths.
    """

    def __init__(self, rules: Rules, tables: Tables, networks: Sequence[SpacyNetwork]) -> None:
        """Create an empty lexicon; `networks` are the networks for which `rows` computes inputs."""
        self.texts: list[str] = []
        self.total_characters = 0
        self._norms: list[str | None] = []
        self._indices: dict[SpecialToken, int] = {}
        self._string_ids: dict[str, int] = {}
        self._rules, self._tables = rules, tables
        columns = {column for network in networks for column in network.columns if column.attribute != "SPACY"}
        self._columns = sorted(columns, key=lambda column: (column.attribute, column.rows, column.seed))
        self._rows: NDArray[np.int32] = np.empty((_FIRST_CAPACITY, 4 * len(self._columns)), np.int32)
        self._vectors: NDArray[np.int32] = np.empty(_FIRST_CAPACITY, np.int32)
        self._lengths: NDArray[np.int64] = np.empty(_FIRST_CAPACITY, np.int64)
        self._spaces: NDArray[np.bool_] = np.empty(_FIRST_CAPACITY, np.bool_)
        self._computed = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return the number of lexemes."""
        return len(self.texts)

    def index_of(self, token: SpecialToken) -> int:
        """Return the index of a lexeme; a new lexeme is added to the lexicon."""
        index = self._indices.get(token)
        return self._add(token) if index is None else index

    def indices_of(self, tokens: Iterable[SpecialToken]) -> tuple[int, ...]:
        """Return the indices of several lexemes; new ones are added to the lexicon."""
        return tuple(map(self.index_of, tokens))

    def lengths(self, lexemes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the length of each lexeme's text in characters, int64 `[lexemes]`."""
        return self._lengths[lexemes]

    def is_space(self, lexemes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which lexemes are whitespace, bool `[lexemes]`."""
        return self._spaces[lexemes]

    def rows(self, lexemes: NDArray[np.int64], spaces: NDArray[np.bool_], network: SpacyNetwork) -> NDArray[np.int32]:
        """Return the graph input `rows` for tokens, int32 `[tokens, 4 * columns]`.

        :param lexemes: the lexeme of each token, int64 `[tokens]`.
        :param spaces: whether a trailing space follows each token, bool `[tokens]`.
        """
        self._compute_new()
        columns = []
        for column in network.columns:
            if column.attribute == "SPACY":  # the only attribute that does not depend on the lexeme alone
                words = hash_words(np.array([0, 1], np.uint64), column.seed) % np.uint64(column.rows)
                columns.append(words.astype(np.int32)[spaces.astype(np.intp)])
            else:
                position = 4 * self._columns.index(column)
                columns.append(self._rows[lexemes, position : position + 4])
        return np.concatenate(columns, axis=1)

    def vectors(self, lexemes: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the row of each lexeme in the table of static vectors, int32 `[lexemes]`; -1 without a vector."""
        self._compute_new()
        return self._vectors[lexemes]

    def _add(self, token: SpecialToken) -> int:
        with self._lock:
            index = self._indices.get(token)
            if index is None:
                index = len(self.texts)
                text, norm = token
                self._reserve(index + 1)
                self._lengths[index] = len(text)
                self._spaces[index] = self._rules.characters.is_space(text)
                self._norms.append(norm)
                self.texts.append(text)
                self.total_characters += len(text)
                # The lexeme is added to this dict last, because other threads read the dict without the lock.
                self._indices[token] = index
            return index

    def _compute_new(self) -> None:
        """Compute the embedding table rows and vectors of all lexemes that were added since the last call."""
        if self._computed == len(self.texts):
            return
        with self._lock:
            new = range(self._computed, len(self.texts))
            for index, column in enumerate(self._columns):
                self._rows[new.start : new.stop, 4 * index : 4 * index + 4] = self._column_rows(column, new)
            if self._tables.vector_keys is not None:
                texts = self.texts[new.start : new.stop]
                ids = np.array([self.string_id(text) for text in texts], np.uint64)
                self._vectors[new.start : new.stop] = self._tables.vector_rows_of(ids)
            self._computed = new.stop

    def _reserve(self, size: int) -> None:
        """Replace the arrays of the lexicon by larger copies if they have fewer than `size` rows.

        Other threads may still be reading the old arrays, which stay valid.
        """
        if size > len(self._lengths):
            capacity = max(size, 2 * len(self._lengths))
            self._rows = grown(self._rows, capacity)
            self._vectors = grown(self._vectors, capacity)
            self._lengths = grown(self._lengths, capacity)
            self._spaces = grown(self._spaces, capacity)

    def _column_rows(self, column: HashColumn, lexemes: range) -> NDArray[np.int32]:
        """Return the four rows of each lexeme in one embedding table, int32 `[lexemes, 4]`."""
        keys = np.array(self._attribute(column.attribute, lexemes), np.uint64)
        return (hash_words(keys, column.seed) % np.uint64(column.rows)).astype(np.int32)

    def _attribute(self, name: str, lexemes: range) -> list[int]:
        """Return the value of a token attribute for each lexeme, as an integer (FORMAT.md, "Attributes")."""
        rules, texts = self._rules, self.texts[lexemes.start : lexemes.stop]
        if name == "IS_SPACE":
            return [int(rules.characters.is_space(text)) for text in texts]
        if name == "NORM":
            norms = self._norms[lexemes.start : lexemes.stop]
            return [
                self._norm(text) if norm is None else self.string_id(norm)
                for text, norm in zip(texts, norms, strict=True)
            ]
        value = _STRING_ATTRIBUTES[name]
        return [self.string_id(value(rules, text)) for text in texts]

    def _norm(self, text: str) -> int:
        """Return the id of the norm of a token text for which no special case sets a norm.

        The norm is that of the norm table, or the text in lower case if the table does not have the text.
        """
        norm = self._tables.norm_of(self.string_id(text))
        return self.string_id(self._rules.characters.to_lower(text)) if norm is None else norm

    def string_id(self, text: str) -> int:
        """Return the id of a string (FORMAT.md, "Strings to numbers"): its number in `symbols`, else its hash."""
        string_id = self._string_ids.get(text)
        if string_id is None:
            string_id = self._rules.symbols.get(text, -1) if text else 0
            if string_id < 0:
                string_id = murmur64a(text.encode())
            if len(self._string_ids) >= _MAX_STRINGS:
                self._string_ids.clear()
            self._string_ids[text] = string_id
        return string_id


def grown(array: NDArray[AnyScalar], capacity: int) -> NDArray[AnyScalar]:
    """Return a copy of the array with room for `capacity` rows; the values of the new rows are undefined."""
    larger = np.empty((capacity, *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger


_STRING_ATTRIBUTES: dict[str, Callable[[Rules, str], str]] = {
    "ORTH": lambda rules, text: text,
    "LOWER": lambda rules, text: rules.characters.to_lower(text),
    "PREFIX": lambda rules, text: text[0],
    "SUFFIX": lambda rules, text: text[-3:],
    "SHAPE": lambda rules, text: rules.characters.shape(text),
}

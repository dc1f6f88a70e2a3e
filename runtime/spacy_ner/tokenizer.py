"""spaCy's rule-based tokenizer (FORMAT.md, "spaCy: text to tokens").

A *chunk* is a run of characters without whitespace, or of whitespace alone; every chunk is tokenized by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..array_equality import ArrayEquality
from .lexicon import Lexicon
from .rules import Affix, Match, Rules, SpecialToken
from .sequences import SequenceMatcher

# The tokens of a chunk are cached if it has at most this many characters: longer chunks rarely occur twice.
_MAX_CACHED_LENGTH = 200
_MAX_CACHED_CHUNKS = 50_000
# The approximate number of characters of a block. A text is split into chunks block by block, to limit the memory.
_BLOCK = 1 << 16
_MAX_COMPILED = 1000
# In a text of at most this many characters, trying all prefix alternatives in one pattern is faster than trying each
# alternative by itself.
_SHORT = 64


@dataclass(frozen=True, eq=False)
class Document(ArrayEquality):
    """The tokens of a text.

    `lexemes` (int64 `[tokens]`) are indices into `lexicon`, `starts` (int64 `[tokens]`) the offsets in characters at
    which the tokens start, `spaces` (bool `[tokens]`) tells after which tokens a trailing space follows.
    """

    lexicon: Lexicon
    lexemes: NDArray[np.int64]
    starts: NDArray[np.int64]
    spaces: NDArray[np.bool_]

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.lexemes)

    def end(self, token: int) -> int:
        """Return the offset in characters at which a token ends."""
        return int(self.starts[token]) + len(self.lexicon.texts[self.lexemes[token]])

    def is_space(self) -> NDArray[np.bool_]:
        """Return which tokens are whitespace, bool `[tokens]`."""
        return self.lexicon.is_space(self.lexemes)


class RuleTokenizer:
    """Tokenizes texts by the rules of one artifact and adds their tokens to a lexicon."""

    def __init__(self, rules: Rules, lexicon: Lexicon) -> None:
        """Compile the patterns that split a text into chunks."""
        self._rules, self._lexicon = rules, lexicon
        self._specials = {chunk: lexicon.indices_of(tokens) for chunk, tokens in rules.specials.items()}
        self._max_special_length = max(map(len, rules.specials), default=0)
        space = rules.characters.space.pattern()
        self._leading = re.compile(f"[{space}]*")
        self._chunks = re.compile(f"([^{space}]+)( ?)([{space}]*)")
        self._boundary = re.compile(f"[{space}](?=[^{space}])")
        self._sequences = SequenceMatcher(rules, lexicon)
        self._token_match = _Matcher(rules.token_match)
        self._url_match = _Matcher(rules.url_match)
        self._affixes = _Affixes(rules)
        self._cache = dict(self._specials)

    def __call__(self, text: str) -> Document:
        """Split a text into tokens and return them as a document."""
        lexemes: list[int] = []
        spaced: list[int] = []
        leading = self._leading.match(text)
        offset = leading.end() if leading else 0
        if offset:
            lexemes += self._chunk(text[:offset])
        for block in self._blocks(text, offset):
            cached = self._cache
            for word, trailing_space, whitespace in self._chunks.findall(block):
                # The cache is read here as well as in `_chunk`: most words are in it, and calling `_chunk` costs time.
                lexemes += cached.get(word) or self._chunk(word)
                if trailing_space:
                    spaced.append(len(lexemes) - 1)
                if whitespace:
                    lexemes += cached.get(whitespace) or self._chunk(whitespace)
        spaces = np.zeros(len(lexemes), np.bool_)
        spaces[spaced] = True
        return self._document(*self._sequences.apply(np.array(lexemes, np.int64), spaces))

    def _document(self, lexemes: NDArray[np.int64], spaces: NDArray[np.bool_]) -> Document:
        ends = np.cumsum(self._lexicon.lengths(lexemes) + spaces)
        starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]]) if len(lexemes) else ends
        return Document(self._lexicon, lexemes, starts, spaces)

    def _blocks(self, text: str, offset: int) -> Iterator[str]:
        """Yield the text from `offset` on in blocks, each of which ends before a chunk without whitespace."""
        while offset < len(text):
            boundary = self._boundary.search(text, offset + _BLOCK)
            end = boundary.end() if boundary else len(text)
            yield text[offset:end]
            offset = end

    def _chunk(self, chunk: str) -> tuple[int, ...]:
        """Tokenize one chunk and return the lexemes of its tokens."""
        lexemes = self._cache.get(chunk)
        if lexemes is None:
            lexemes = self._lexicon.indices_of(self._split(chunk))
            if len(chunk) <= _MAX_CACHED_LENGTH:
                if len(self._cache) >= _MAX_CACHED_CHUNKS:
                    self._cache = dict(self._specials)
                self._cache[chunk] = lexemes
        return lexemes

    def _split(self, chunk: str) -> list[SpecialToken]:
        prefixes, middle, suffixes = self._cut_affixes(chunk)
        tokens: list[SpecialToken] = [(text, None) for text in prefixes]
        if middle:
            tokens += self._rules.specials.get(middle) or self._middle(middle)
        return tokens + [(text, None) for text in reversed(suffixes)]

    def _middle(self, text: str) -> list[SpecialToken]:
        """Return the tokens of the rest of a chunk whose affixes were cut off, for a rest that is no special case."""
        if self._token_match(text, 0, len(text)) or self._url_match(text, 0, len(text)):
            return [(text, None)]
        return [(token, None) for token in self._split_infixes(text)]

    def _cut_affixes(self, text: str) -> tuple[list[str], str, list[str]]:
        """Cut off the affixes of a chunk; return its prefixes, the rest of the chunk, and its suffixes.

        The prefixes are in the order of the text, the suffixes in reverse order.
        """
        prefixes: list[str] = []
        suffixes: list[str] = []
        start, end, size = 0, len(text), -1
        while start < end and end - start != size:
            if self._is_special(text, start, end) or self._token_match(text, start, end):
                break
            size = end - start
            prefix = self._affixes.prefix_length(text, start, end)
            if prefix and self._is_special(text, start + prefix, end):
                prefixes.append(text[start : start + prefix])
                start += prefix
                break
            suffix = self._affixes.suffix_length(text, start + prefix, end)
            if suffix and self._is_special(text, start, end - suffix):
                suffixes.append(text[end - suffix : end])
                end -= suffix
                break
            if prefix:
                prefixes.append(text[start : start + prefix])
            if suffix and (not prefix or prefix + suffix <= size):
                suffixes.append(text[end - suffix : end])
                end -= suffix
            start += prefix
        return prefixes, text[start:end], suffixes

    def _split_infixes(self, text: str) -> list[str]:
        """Split a text at its infixes, which become tokens too; an infix at the very start of the text is ignored."""
        infixes = list(self._rules.infix.finditer(text)) if self._rules.infix else []
        if not infixes:
            return [text]
        tokens, start = [], 0
        for infix in infixes:
            if infix.start() == 0:
                continue
            tokens += [text[start : infix.start()], infix.group()]
            start = infix.end()
        return [token for token in (*tokens, text[start:]) if token]

    def _is_special(self, text: str, start: int, end: int) -> bool:
        # The length is checked first, because copying a slice of a very long chunk after every cut would be slow.
        return 0 < end - start <= self._max_special_length and text[start:end] in self._specials


class _Affixes:
    """Finds the prefix and the suffix of a range of a text by the rules of a tokenizer."""

    def __init__(self, rules: Rules) -> None:
        self._prefix = rules.prefix
        # One pattern of all prefix alternatives, for short texts: limiting each alternative to its window saves no time
        # there.
        self._any_prefix = _alternation(affix.pattern for affix in rules.prefix)
        bounded = [affix for affix in rules.suffix if affix.window is not None]
        self._window = max((affix.window or 0 for affix in bounded), default=0)
        self._bounded = _alternation(affix.pattern for affix in bounded)
        self._unbounded = [affix for affix in rules.suffix if affix.window is None]

    def prefix_length(self, text: str, start: int, end: int) -> int:
        """Return the length in characters of the prefix of `text[start:end]`; 0 if the range has no prefix."""
        if end - start <= _SHORT:
            match = self._any_prefix.match(text[start:end])
            return match.end() if match else 0
        for affix in self._prefix:
            stop = min(end, start + affix.window) if affix.window is not None else _end_of_run(affix, text, start, end)
            if match := affix.pattern.match(text[start:stop]):
                return match.end()
        return 0

    def suffix_length(self, text: str, start: int, end: int) -> int:
        """Return the length in characters of the longest suffix of `text[start:end]`; 0 if the range has no suffix.

        Every alternative of the suffix rule matches only at the end of a text, so the match that starts first is the
        longest.
        """
        match = self._bounded.search(text[max(start, end - self._window) : end])
        length = match.end() - match.start() if match else 0
        for affix in self._unbounded:
            if match := affix.pattern.search(text[_start_of_run(affix, text, start, end) : end]):
                length = max(length, match.end() - match.start())
        return length


def _end_of_run(affix: Affix, text: str, start: int, end: int) -> int:
    """Return the offset up to which an unlimited prefix of `text[start:end]` can reach.

    Reading all of a long chunk for each of its prefixes would take quadratic time.
    """
    if affix.consumed is None:
        return end
    while start < end and affix.consumed.match(text, start):
        start += 1
    return start


def _start_of_run(affix: Affix, text: str, start: int, end: int) -> int:
    """Return the offset from which on an unlimited suffix of `text[start:end]` can begin."""
    if affix.consumed is None:
        return start
    while start < end and affix.consumed.match(text, end - 1):
        end -= 1
    return end


def _alternation(patterns: Iterable[re.Pattern[str]]) -> re.Pattern[str]:
    """Join several patterns with `|` to one pattern; without any patterns, the result never matches."""
    return re.compile("|".join(pattern.pattern for pattern in patterns) or r"(?!)")


class _Matcher:
    """Tells whether any of several patterns matches a range of a text from its start.

    For each first character of a range, the patterns that can match such texts are compiled as one pattern when the
    character first occurs.
    """

    def __init__(self, matches: Sequence[Match]) -> None:
        self._matches = matches
        self._is_local = all(match.is_local for match in matches)
        self._compiled: dict[str, re.Pattern[str] | None] = {}

    def __call__(self, text: str, start: int, end: int) -> bool:
        if not self._matches:
            return False
        compiled, first = self._compiled, text[start]
        pattern = compiled[first] if first in compiled else self._compile(first)
        if pattern is None:
            return False
        # Copying a slice of a very long chunk after every cut would be slow.
        found = pattern.match(text, start, end) if self._is_local else pattern.match(text[start:end])
        return found is not None

    def _compile(self, first: str) -> re.Pattern[str] | None:
        sources = [match.source for match in self._matches if match.first is None or first in match.first]
        if len(self._compiled) >= _MAX_COMPILED:
            self._compiled = {}  # not cleared but replaced, because another thread may be reading it
        pattern = re.compile("|".join(sources)) if sources else None
        self._compiled[first] = pattern
        return pattern

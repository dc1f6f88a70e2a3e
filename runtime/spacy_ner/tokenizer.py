"""spaCy's rule-driven tokenizer (FORMAT.md, "spaCy: text to tokens")."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .lexicon import Lexicon
from .rules import Match, Rules, SpecialToken, compile_pattern
from .sequences import SequenceMatcher

# Longer chunks are rare and would fill the memory with strings that never come again.
_LONGEST_CACHED = 200
_MAX_CHUNKS = 50_000
# Texts are split into chunks in parts of about this many characters.
_PART = 1 << 16
_MAX_FIRSTS = 1000
_SHORT = 64


@dataclass(frozen=True)
class Document:
    """The tokens of a text.

    `lexemes` int64 `[tokens]` are numbers in `lexicon`, `starts` int64 `[tokens]` the places in characters where they
    start, `spaces` bool `[tokens]` whether a trailing space follows.
    """

    lexicon: Lexicon
    lexemes: NDArray[np.int64]
    starts: NDArray[np.int64]
    spaces: NDArray[np.bool_]

    def __len__(self) -> int:
        """Number of tokens."""
        return len(self.lexemes)

    def end(self, token: int) -> int:
        """Where a token ends, in characters."""
        return int(self.starts[token]) + len(self.lexicon.texts[self.lexemes[token]])

    def is_space(self) -> NDArray[np.bool_]:
        """Which tokens are whitespace, bool `[tokens]`."""
        return self.lexicon.is_space(self.lexemes)


class RuleTokenizer:
    """Tokenizes with the rules of one artifact into one lexicon."""

    def __init__(self, rules: Rules, lexicon: Lexicon) -> None:
        """Compile what splits a text into chunks."""
        self._rules, self._lexicon = rules, lexicon
        self._specials = {chunk: lexicon.numbers(tokens) for chunk, tokens in rules.specials.items()}
        self._longest_special = max(map(len, rules.specials), default=0)
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
        """Tokenize a text."""
        lexemes: list[int] = []
        spaced: list[int] = []
        leading = self._leading.match(text)
        index = leading.end() if leading else 0
        if index:
            lexemes += self._chunk(text[:index])
        for part in self._parts(text, index):
            known = self._cache
            for word, whitespace, rest in self._chunks.findall(part):
                # Looked up here: for almost every word a call would cost more than what it does
                lexemes += known.get(word) or self._chunk(word)
                if whitespace:
                    spaced.append(len(lexemes) - 1)
                if rest:
                    lexemes += known.get(rest) or self._chunk(rest)
        spaces = np.zeros(len(lexemes), np.bool_)
        spaces[spaced] = True
        return self._document(*self._sequences.apply(np.array(lexemes, np.int64), spaces))

    def _document(self, lexemes: NDArray[np.int64], spaces: NDArray[np.bool_]) -> Document:
        ends = np.cumsum(self._lexicon.lengths(lexemes) + spaces)
        starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]]) if len(lexemes) else ends
        return Document(self._lexicon, lexemes, starts, spaces)

    def _parts(self, text: str, index: int) -> Iterator[str]:
        """The text from `place` on, cut where a run of other characters begins."""
        while index < len(text):
            found = self._boundary.search(text, index + _PART)
            end = found.end() if found else len(text)
            yield text[index:end]
            index = end

    def _chunk(self, chunk: str) -> tuple[int, ...]:
        """The lexemes of a run of spaces or of others."""
        found = self._cache.get(chunk)
        if found is None:
            found = self._lexicon.numbers(self._split(chunk))
            if len(chunk) <= _LONGEST_CACHED:
                if len(self._cache) >= _MAX_CHUNKS:
                    self._cache = dict(self._specials)
                self._cache[chunk] = found
        return found

    def _split(self, chunk: str) -> list[SpecialToken]:
        prefixes, middle, suffixes = self._cut_affixes(chunk)
        tokens: list[SpecialToken] = [(text, None) for text in prefixes]
        if middle:
            tokens += self._rules.specials.get(middle) or self._middle(middle)
        return tokens + [(text, None) for text in reversed(suffixes)]

    def _middle(self, text: str) -> list[SpecialToken]:
        if self._token_match(text) or self._url_match(text):
            return [(text, None)]
        return [(part, None) for part in self._cut_infixes(text)]

    def _cut_affixes(self, text: str) -> tuple[list[str], str, list[str]]:
        prefixes: list[str] = []
        suffixes: list[str] = []
        start, end, size = 0, len(text), -1
        while start < end and end - start != size:
            if self._is_special(text, start, end) or self._has_match(text, start, end):
                break
            size = end - start
            ahead = self._affixes.prefix_length(text, start, end)
            if ahead and self._is_special(text, start + ahead, end):
                prefixes.append(text[start : start + ahead])
                start += ahead
                break
            behind = self._affixes.suffix_length(text, start + ahead, end)
            if behind and self._is_special(text, start, end - behind):
                suffixes.append(text[end - behind : end])
                end -= behind
                break
            if ahead:
                prefixes.append(text[start : start + ahead])
            if behind and (not ahead or ahead + behind <= size):
                suffixes.append(text[end - behind : end])
                end -= behind
            start += ahead
        return prefixes, text[start:end], suffixes

    def _cut_infixes(self, text: str) -> list[str]:
        infixes = list(self._rules.infix.finditer(text)) if self._rules.infix else []
        if not infixes:
            return [text]
        parts, start = [], 0
        for found in infixes:
            if found.start() == 0:
                continue
            parts += [text[start : found.start()], found.group()]
            start = found.end()
        return [part for part in (*parts, text[start:]) if part]

    def _has_match(self, text: str, start: int, end: int) -> bool:
        return bool(self._rules.token_match) and self._token_match(text[start:end])

    def _is_special(self, text: str, start: int, end: int) -> bool:
        # Measured first: a chunk may have hundreds of thousands of characters, and is looked at after every cut
        return 0 < end - start <= self._longest_special and text[start:end] in self._specials


class _Affixes:
    """Lengths of prefixes and suffixes of a part of a text."""

    def __init__(self, rules: Rules) -> None:
        self._prefix = rules.prefix
        # On a short text all alternatives are tried at once: there windows spare nothing
        self._whole_prefix = _joined(affix.pattern for affix in rules.prefix)
        bounded = [affix for affix in rules.suffix if affix.window is not None]
        self._window = max((affix.window or 0 for affix in bounded), default=0)
        self._bounded = _joined(affix.pattern for affix in bounded)
        self._endless = _joined(affix.pattern for affix in rules.suffix if affix.window is None)

    def prefix_length(self, text: str, start: int, end: int) -> int:
        if end - start <= _SHORT:
            found = self._whole_prefix.match(text[start:end])
            return found.end() if found else 0
        for affix in self._prefix:
            if found := affix.pattern.match(text[start : end if affix.window is None else start + affix.window]):
                return found.end()
        return 0

    def suffix_length(self, text: str, start: int, end: int) -> int:
        """The longest match that ends at the end: every alternative does, so it is the leftmost."""
        found = self._bounded.search(text[max(start, end - self._window) : end])
        longest = found.end() - found.start() if found else 0
        if found := self._endless.search(text[start:end]):
            longest = max(longest, found.end() - found.start())
        return longest


def _joined(patterns: Iterable[re.Pattern[str]]) -> re.Pattern[str]:
    """One pattern with the alternatives of several, in their order; without any, one that never matches."""
    return re.compile("|".join(pattern.pattern for pattern in patterns) or r"(?!)")


class _Matcher:
    """Whether any of some patterns matches; compiled for each first character when a text first begins with it."""

    def __init__(self, matches: Sequence[Match]) -> None:
        self._matches = matches
        self._compiled: dict[str, re.Pattern[str] | None] = {}

    def __call__(self, text: str) -> bool:
        if not self._matches:
            return False
        compiled, first = self._compiled, text[0]
        pattern = compiled[first] if first in compiled else self._compile(first)
        return pattern is not None and pattern.match(text) is not None

    def _compile(self, first: str) -> re.Pattern[str] | None:
        sources = [match.source for match in self._matches if match.first is None or first in match.first]
        if len(self._compiled) >= _MAX_FIRSTS:
            self._compiled = {}  # another thread may still read the old one
        pattern = compile_pattern("|".join(sources)) if sources else None
        self._compiled[first] = pattern
        return pattern

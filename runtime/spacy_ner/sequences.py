"""Special cases that the rules take apart are found again among the tokens and put right."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .lexicon import Lexicon
from .rules import Rules

_END = ""  # no token is empty, so this key of a trie's node is free
Run = tuple[int, int]


class SequenceMatcher:
    """Finds the sequences of one artifact's rules and replaces them by their special cases."""

    def __init__(self, rules: Rules, lexicon: Lexicon) -> None:
        """Build the trie."""
        self._lexicon = lexicon
        self._specials = {chunk: lexicon.numbers(tokens) for chunk, tokens in rules.specials.items()}
        self._trie: dict[str, Any] = {}
        for sequence in rules.sequences:
            node = self._trie
            for text in sequence:
                node = node.setdefault(text, {})
            node[_END] = True
        # By lexeme: whether a sequence begins with it
        self._opens: NDArray[np.bool_] = np.empty(0, np.bool_)
        self._lock = threading.Lock()

    def apply(
        self, lexemes: NDArray[np.int64], spaces: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Replace the runs of tokens that are special cases."""
        runs = self._kept(self._found(lexemes))
        parts: list[tuple[Any, Any]] = []
        done = 0
        for start, end in runs:
            if (replaced := self._specials.get(self._text(lexemes, spaces, start, end))) is not None:
                trailing = np.zeros(len(replaced), np.bool_)
                trailing[-1] = spaces[end - 1]
                parts += [(lexemes[done:start], spaces[done:start]), (np.array(replaced, np.int64), trailing)]
                done = end
        if not parts:
            return lexemes, spaces
        parts.append((lexemes[done:], spaces[done:]))
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def _found(self, lexemes: NDArray[np.int64]) -> list[Run]:
        """Every run of tokens that is a sequence."""
        with self._lock:
            if len(self._opens) < len(self._lexicon):
                new = [text in self._trie for text in self._lexicon.texts[len(self._opens) :]]
                self._opens = np.concatenate([self._opens, np.array(new, np.bool_)])
        numbers: list[int] = lexemes.tolist()
        return [run for index in np.flatnonzero(self._opens[lexemes]).tolist() for run in self._from(numbers, index)]

    def _from(self, numbers: list[int], start: int) -> list[Run]:
        texts, node, runs = self._lexicon.texts, self._trie, []
        for index in range(start, len(numbers)):
            following = node.get(texts[numbers[index]])
            if following is None:
                break
            node = following
            if _END in node:
                runs.append((start, index + 1))
        return runs

    def _kept(self, runs: list[Run]) -> list[Run]:
        """Longest first, then earliest: a run is kept if neither its first nor its last token was looked at before."""
        seen: set[int] = set()
        kept = []
        for start, end in sorted(runs, key=lambda run: (run[0] - run[1], run[0])):
            if start not in seen and end - 1 not in seen:
                kept.append((start, end))
            seen.update(range(start, end))
        return sorted(kept)

    def _text(self, lexemes: NDArray[np.int64], spaces: NDArray[np.bool_], start: int, end: int) -> str:
        pairs = zip(lexemes[start:end].tolist(), spaces[start:end].tolist(), strict=True)
        text = "".join(self._lexicon.texts[number] + (" " if space else "") for number, space in pairs)
        return text[:-1] if spaces[end - 1] else text

"""Replace runs of tokens whose joined text is a special case (FORMAT.md, "Sequences").

The other rules split special cases that contain whitespace or affixes; this step finds their tokens and corrects them.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .lexicon import Lexicon
from .rules import Rules

# The key by which a node of the trie shows that a sequence ends there. It cannot be a token, because no token is empty.
_END = ""
# A run of tokens: the index of its first token and the index after its last token.
Run = tuple[int, int]


class SequenceMatcher:
    """Finds the sequences of one artifact's rules and replaces them by the tokens of their special cases."""

    def __init__(self, rules: Rules, lexicon: Lexicon) -> None:
        """Build the trie of all token sequences of special cases."""
        self._lexicon = lexicon
        self._specials = {chunk: lexicon.indices_of(tokens) for chunk, tokens in rules.specials.items()}
        self._trie: dict[str, Any] = {}
        for sequence in rules.sequences:
            node = self._trie
            for text in sequence:
                node = node.setdefault(text, {})
            node[_END] = True
        # For each lexeme of the lexicon: whether a sequence begins with it.
        self._starts_sequence: NDArray[np.bool_] = np.empty(0, np.bool_)
        self._lock = threading.Lock()

    def apply(
        self, lexemes: NDArray[np.int64], spaces: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Replace the sequences in a document's tokens.

        :param lexemes: the tokens' lexemes, int64 `[tokens]`.
        :param spaces: whether a trailing space follows each token, bool `[tokens]`.
        :returns: the same two arrays after the replacements.
        """
        replaced: list[tuple[Any, Any]] = []
        done = 0
        for start, end in self._without_overlaps(self._runs(lexemes)):
            if (special := self._specials.get(self._text(lexemes, spaces, start, end))) is not None:
                trailing = np.zeros(len(special), np.bool_)
                trailing[-1] = spaces[end - 1]
                replaced += [(lexemes[done:start], spaces[done:start]), (np.array(special, np.int64), trailing)]
                done = end
        if not replaced:
            return lexemes, spaces
        replaced.append((lexemes[done:], spaces[done:]))
        return np.concatenate([each[0] for each in replaced]), np.concatenate([each[1] for each in replaced])

    def _runs(self, lexemes: NDArray[np.int64]) -> list[Run]:
        """Return every run of tokens that is one of the sequences of special cases; runs may overlap."""
        with self._lock:
            if len(self._starts_sequence) < len(self._lexicon):
                new = [text in self._trie for text in self._lexicon.texts[len(self._starts_sequence) :]]
                self._starts_sequence = np.concatenate([self._starts_sequence, np.array(new, np.bool_)])
        numbers: list[int] = lexemes.tolist()
        starts = np.flatnonzero(self._starts_sequence[lexemes]).tolist()
        return [run for start in starts for run in self._runs_from(numbers, start)]

    def _runs_from(self, lexemes: list[int], start: int) -> list[Run]:
        """Return every run of tokens that begins with the token `start` and is one of the sequences."""
        texts, node, runs = self._lexicon.texts, self._trie, []
        for index in range(start, len(lexemes)):
            following = node.get(texts[lexemes[index]])
            if following is None:
                break
            node = following
            if _END in node:
                runs.append((start, index + 1))
        return runs

    def _without_overlaps(self, runs: list[Run]) -> list[Run]:
        """Return the runs to keep, ordered by their start.

        Runs are considered from the longest to the shortest; of equally long runs, the earlier comes first. As in
        spaCy, a run is dropped if its first or last token belongs to a run that was considered before it, even if
        that run was dropped too.
        """
        seen: set[int] = set()
        kept = []
        for start, end in sorted(runs, key=lambda run: (run[0] - run[1], run[0])):
            if start not in seen and end - 1 not in seen:
                kept.append((start, end))
            seen.update(range(start, end))
        return sorted(kept)

    def _text(self, lexemes: NDArray[np.int64], spaces: NDArray[np.bool_], start: int, end: int) -> str:
        """Return the text of a run of tokens, with the spaces between its tokens but without the one after the run."""
        pairs = zip(lexemes[start:end].tolist(), spaces[start:end].tolist(), strict=True)
        text = "".join(self._lexicon.texts[lexeme] + (" " if space else "") for lexeme, space in pairs)
        return text[:-1] if spaces[end - 1] else text

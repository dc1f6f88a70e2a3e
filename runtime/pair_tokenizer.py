"""Tokenize pairs of a query and a document, and truncate them as the tokenizers library truncates pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ..artifacts.errors import ArtifactError
from ..artifacts.manifest_sections import TokenizerSpec
from .cancellation import Watch
from .tokenizer import TextTokenizer, run_tokenizer, steps, typed_panic

# A text that every tokenizer splits into at least one token.
_PROBE = "a"


@dataclass(frozen=True)
class Pair:
    """The token ids and token types of a pair, special tokens included, and whether a text was truncated."""

    ids: tuple[int, ...]
    type_ids: tuple[int, ...]
    truncated: bool


@dataclass(frozen=True)
class PairTemplate:
    """The special tokens of a pair, as (id, token type), and the token types of its texts."""

    before: tuple[tuple[int, int], ...]
    between: tuple[tuple[int, int], ...]
    after: tuple[tuple[int, int], ...]
    query_type: int
    document_type: int

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> PairTemplate:
        """Read the template of a tokenizer's post-processor from a pair of two equal texts.

        :raises ValueError: if the query is not first, if a text occurs twice or has several token types.
        """
        probe = tokenizer.encode(_PROBE, add_special_tokens=False)
        pair = tokenizer.encode(_PROBE, _PROBE)
        tokens = zip(pair.sequence_ids, pair.ids, pair.type_ids, strict=True)
        runs = [(sequence, list(run)) for sequence, run in groupby(tokens, key=lambda token: token[0])]
        texts = [(sequence, [id_ for _, id_, _ in run]) for sequence, run in runs if sequence is not None]
        types = [{type_id for _, _, type_id in run} for sequence, run in runs if sequence is not None]
        if texts != [(0, probe.ids), (1, probe.ids)] or any(len(of_text) != 1 for of_text in types):
            raise ValueError("its pairs are not a query and a document with one token type each")
        special: list[list[tuple[int, int]]] = [[], [], []]
        seen = 0
        for sequence, run in runs:
            if sequence is None:
                special[seen] = [(id_, type_id) for _, id_, type_id in run]
            else:
                seen += 1
        before, between, after = (tuple(part) for part in special)
        template = cls(before, between, after, *(of_text.pop() for of_text in types))
        if len(template) != tokenizer.num_special_tokens_to_add(is_pair=True):
            raise ValueError("its pairs contain a text twice")
        return template

    def __len__(self) -> int:
        """Return the number of special tokens."""
        return len(self.before) + len(self.between) + len(self.after)

    def join(self, query: Sequence[int], document: Sequence[int], truncated: bool) -> Pair:
        """Join the token ids of two texts and add the special tokens."""
        tokens = [
            *self.before,
            *((id_, self.query_type) for id_ in query),
            *self.between,
            *((id_, self.document_type) for id_ in document),
            *self.after,
        ]
        return Pair(tuple(id_ for id_, _ in tokens), tuple(type_id for _, type_id in tokens), truncated)


def kept_lengths(query: int, document: int, limit: int) -> tuple[int, int]:
    """Return how many tokens of each text are kept, as the strategy `longest_first` of the tokenizers library does.

    The longer text is shortened until both fit, but not below the length of the shorter one. If that is not enough,
    both keep half of the limit, and the longer one also keeps the odd token.

    :param limit: the number of tokens that both texts may have together.
    """
    if query + document <= limit:
        return query, document
    shorter, longer = min(query, document), max(query, document)
    longer = shorter if shorter > limit else max(shorter, limit - shorter)
    if shorter + longer > limit:
        shorter = limit // 2
        longer = shorter + limit % 2
    return (shorter, longer) if query <= document else (longer, shorter)


class PairTokenizer:
    """Tokenizes a query once and each document on its own, then truncates and joins them. Thread-safe.

    The library's truncation of pairs is not used. It also returns every combination of the parts that it cuts off,
    which are gigabytes for two texts of 20,000 tokens.
    """

    def __init__(self, path: Path, spec: TokenizerSpec) -> None:
        """Load tokenizer.json and compare it with the manifest.

        :raises ArtifactError: with the code `tokenizer` if the file cannot be loaded, does not match the manifest or
            cannot join pairs.
        """
        self.spec = spec
        self._tokenizer = TextTokenizer(path, spec).untruncated()
        try:
            self._template = PairTemplate.of(self._tokenizer)
        except BaseException as error:  # the library panics for a template with an unknown special token
            raise typed_panic(error, ArtifactError("tokenizer", f"{spec.file}: {error}")) from error
        self._limit = spec.max_tokens - len(self._template)
        if self._limit < 2:
            raise ArtifactError(
                "tokenizer",
                "max_tokens leaves no room for a pair",
                expected=f"at least {len(self._template) + 2}",
                actual=spec.max_tokens,
            )

    def encode(self, query: str, documents: Sequence[str], watch: Watch | None = None) -> list[Pair]:
        """Return the pairs of a query with each document, in the order of the documents.

        :param watch: can stop the call between documents.
        :raises InferenceError: if the tokenizer fails.
        :raises StoppedError: if the watch stopped the call.
        """
        encode = partial(self._tokenizer.encode_batch_fast, add_special_tokens=False)
        (query_ids,) = (encoding.ids for encoding in run_tokenizer(encode, [query]))
        pairs: list[Pair] = []
        for step in steps(documents, watch):
            pairs += [self._pair(query_ids, encoding.ids) for encoding in run_tokenizer(encode, step)]
        return pairs

    def _pair(self, query: Sequence[int], document: Sequence[int]) -> Pair:
        lengths = len(query), len(document)
        kept = kept_lengths(*lengths, self._limit)
        query, document = self._truncate(query, kept[0]), self._truncate(document, kept[1])
        return self._template.join(query, document, truncated=kept != lengths)

    def _truncate(self, ids: Sequence[int], count: int) -> Sequence[int]:
        return ids[:count] if self.spec.truncation_side == "right" else ids[len(ids) - count :]

    def pad(self, pairs: Sequence[Pair]) -> Mapping[str, NDArray[np.int64]]:
        """Return ids, attention mask and token types, each int64 `[batch, max_length]`, padded on the right."""
        longest = max(len(pair.ids) for pair in pairs)
        ids = np.full((len(pairs), longest), self.spec.pad_token_id, np.int64)
        mask, types = np.zeros_like(ids), np.zeros_like(ids)
        for row, pair in enumerate(pairs):
            ids[row, : len(pair.ids)] = pair.ids
            mask[row, : len(pair.ids)] = 1
            types[row, : len(pair.ids)] = pair.type_ids
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}

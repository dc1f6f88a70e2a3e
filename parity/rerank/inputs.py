"""The inputs of the comparison: queries with relevant, similar and unrelated documents.

topics.txt was written for this purpose. It has 40 queries, each with a relevant document, a partly relevant one, and
one that only shares words with the query. It also has documents in other scripts, very short and very long ones, and
documents without words.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from importlib import resources

_SEED = 20261101
_DOCUMENTS = 20


@dataclass(frozen=True)
class RerankInput:
    """A query and its documents."""

    query: str
    documents: tuple[str, ...]


@dataclass(frozen=True)
class Topics:
    """The texts of topics.txt: documents by query, and unusual documents."""

    documents: dict[str, list[str]]
    odd: list[str]


def rerank_inputs() -> list[RerankInput]:
    """Return every query with its 3 documents and 17 documents of other queries, then unusual queries and documents."""
    topics, source = read_topics(), random.Random(_SEED)
    inputs = []
    for query, own in topics.documents.items():
        others = [text for other, texts in topics.documents.items() if other != query for text in texts]
        documents = [*own, *source.sample(others, _DOCUMENTS - len(own))]
        source.shuffle(documents)
        inputs.append(RerankInput(query, tuple(documents)))
    queries = list(topics.documents)
    odd = [*topics.odd, "", " ", queries[0]]
    longest = max(topics.odd, key=len)
    return [*inputs, *(RerankInput(query, tuple(odd)) for query in (queries[0], "", longest, topics.odd[0]))]


def read_topics() -> Topics:
    """Parse topics.txt: `# QUERY` begins the documents of a query, `## NAME` a section of unusual documents."""
    documents: dict[str, list[str]] = {}
    odd: list[str] = []
    current = odd
    text = resources.files(__package__).joinpath("topics.txt").read_text(encoding="utf-8")
    for line in text.split("\n"):
        if line.startswith("## "):
            current = odd
        elif line.startswith("# "):
            current = documents.setdefault(line[2:], [])
        elif line:
            current.append(line)
    return Topics(documents, odd)

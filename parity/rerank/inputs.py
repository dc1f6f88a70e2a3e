"""The queries that rerankers are compared on, each with documents of every kind.

topics.txt was written for this purpose: 40 queries, each with a relevant document, one that is partly relevant, and one
that only shares words with the query; and documents in other scripts, very short, very long, or not in words at all.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from importlib import resources

_SEED = 20261101
_DOCUMENTS = 20


@dataclass(frozen=True)
class RerankInput:
    """One query and its documents."""

    query: str
    documents: tuple[str, ...]


@dataclass(frozen=True)
class Topics:
    """The texts of topics.txt: documents by query, and documents of other kinds."""

    documents: dict[str, list[str]]
    odd: list[str]


def rerank_inputs() -> list[RerankInput]:
    """Every query with its own three documents and 17 of other queries, then queries and documents of other kinds."""
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
    """Read topics.txt: `# QUERY` begins the documents of a query, `## NAME` a section of other documents."""
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

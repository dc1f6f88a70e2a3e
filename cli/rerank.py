"""The command `rerank`, and the options of rerankers in models.toml."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import typer

from ..artifacts.errors import InferenceError, InputError, OnnxMlBridgeError
from ..runtime.handles.reranker import Ranked, Reranker, RerankOptions
from ..runtime.options import AUTO, DEFAULT_TEXT_LIMIT, BridgeOptions, Model
from ..runtime.tokenizer import check_text
from .arguments import ModelOption, TextLimitOption, ThreadsOption, VariantOption
from .console import reported_errors
from .jsonl import LineFormat, check_keys, failure_line, json_line, parse_texts, print_answers
from .options import ALLOW_PICKLE, option


@dataclass(frozen=True)
class Options:
    """The options of a reranker in models.toml."""

    allow_pickle: bool = option(False, ALLOW_PICKLE)


@dataclass(frozen=True)
class RerankEntry:
    """The parsed value of an input line: a query and the documents to rank for it."""

    query: str
    documents: tuple[str, ...]


def command(
    model: ModelOption,
    variant: VariantOption = AUTO,
    top_k: Annotated[int | None, typer.Option(help="Print only the best K documents.", metavar="K", min=1)] = None,
    threads: ThreadsOption = None,
    text_limit: TextLimitOption = DEFAULT_TEXT_LIMIT,
) -> None:
    """Rank documents in JSON lines from stdin: {"query": "...", "documents": ["...", ...]}, one query per line.

    The output has one line per input line: {"ranking":[{"index","score","truncated"}]}, best document first, where
    `index` is the index in `documents`; or {"error":{"code","line","message"}} if the line fails. The other lines are
    still answered, and the exit status is 1 at the end.

    Example: echo '{"query": "play music", "documents": ["A chess game.", "A music player."]}' |
    onnx-ml-bridge rerank --model dist/cross-encoder-package-descriptions
    """
    with reported_errors():
        reranker = Reranker.open(Model(model, variant=variant), BridgeOptions(threads=threads, text_limit=text_limit))
        # Report a missing library and an invalid graph once, before any input is read
        reranker.warm_up()
        answers = RerankAnswers(reranker, RerankOptions(top_k=top_k))
        print_answers(answers, LineFormat(text_limit, parse_entry), lambda _, answer: json_line(answer), failure_line)


def parse_entry(value: Any, limit: int) -> RerankEntry:
    """Parse the JSON value of an input line: an object with the keys `query` and `documents`."""
    if not isinstance(value, dict) or "query" not in value or "documents" not in value:
        actual = ", ".join(sorted(value)) if isinstance(value, dict) else type(value).__name__
        raise InputError("bad_line", "the line", expected="an object with query and documents", actual=actual)
    check_keys(value, "query", "documents")
    return RerankEntry(check_text(value["query"], None, limit), parse_texts(value["documents"], "documents", limit))


class RerankAnswers:
    """Ranks, for every line of a batch, the documents of the line for its query."""

    def __init__(self, reranker: Reranker, options: RerankOptions | None = None) -> None:
        """Store the model and the options that all lines share."""
        self._reranker = reranker
        self._options = options

    def __call__(self, entries: Sequence[RerankEntry]) -> list[dict[str, Any] | OnnxMlBridgeError]:
        """Return the JSON object with the ranking, or the error, for every entry."""
        return [self._answer(entry) for entry in entries]

    def _answer(self, entry: RerankEntry) -> dict[str, Any] | OnnxMlBridgeError:
        try:
            ranked = self._reranker.rerank(entry.query, entry.documents, self._options)
        except (InferenceError, InputError) as error:
            return error
        return {"ranking": [_record(each) for each in ranked]}


def _record(ranked: Ranked) -> dict[str, Any]:
    return {"index": ranked.index, "score": np.float32(ranked.score), "truncated": ranked.truncated}

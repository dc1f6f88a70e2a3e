"""The command `rerank`, and the options of rerankers in models.toml."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import typer

from ..artifacts.errors import InferenceError, InputError, OnnxMlBridgeError
from ..runtime.handles.reranker import Ranked, Reranker, RerankOptions
from ..runtime.options import AUTO, DEFAULT_TEXT_LIMIT
from ..runtime.tokenizer import check_text
from .arguments import ModelOption, TextLimitOption, ThreadsOption, VariantOption
from .bulk.options import with_files
from .bulk.run import BulkOptions, run_bulk
from .bulk.task import RowSettings, RowTask
from .console import reported_errors
from .jsonl import LineFormat, check_keys, failure_line, json_line, parse_texts, print_answers
from .options import ALLOW_PICKLE, option
from .store.options import KeysOption, StoreOption

# The default number of rows of a part: a row has many documents
_PART_ROWS = 128


@dataclass(frozen=True)
class Options:
    """The options of a reranker in models.toml."""

    allow_pickle: bool = option(False, ALLOW_PICKLE)


@dataclass(frozen=True)
class RerankEntry:
    """The parsed value of an input line: a query and the documents to rank for it."""

    query: str
    documents: tuple[str, ...]


@with_files(part_rows=_PART_ROWS)
def command(
    model: ModelOption,
    variant: VariantOption = AUTO,
    top_k: Annotated[int | None, typer.Option(help="Print only the best K documents.", metavar="K", min=1)] = None,
    threads: ThreadsOption = None,
    text_limit: TextLimitOption = DEFAULT_TEXT_LIMIT,
    store: StoreOption = None,
    key: KeysOption = None,
    files: BulkOptions | None = None,
) -> None:
    """Rank documents in JSON lines from stdin: {"query": "...", "documents": ["...", ...]}, one query per line.

    The output has one line per input line: {"ranking":[{"index","score","truncated"}]}, best document first, where
    `index` is the index in `documents`; or {"error":{"code","line","message"}} if the line fails. The other lines are
    still answered, and the exit status is 1 at the end.

    With --input and --output, a file is processed in parts, and a run that was interrupted can be resumed. The parts
    have these lines in the order of the rows, but an error has no message; join them with: cat DIR/part-*.jsonl

    Example: echo '{"query": "play music", "documents": ["A chess game.", "A music player."]}' |
    onnx-ml-bridge rerank --model dist/cross-encoder-package-descriptions
    """
    settings = RowSettings(model, variant, threads, text_limit, {"top_k": top_k}, store, tuple(key or ()))
    with reported_errors():
        if files is not None:
            run_bulk("rerank", open_rows, settings, files)
            return
        task = open_rows(settings)
        print_answers(task.answer, task.line_format, lambda _, answer: json_line(answer), failure_line)


def open_rows(settings: RowSettings) -> RowTask[RerankEntry, dict[str, Any]]:
    """Open the model; reports a missing library and an invalid graph before any input is read."""
    reranker = Reranker.open(settings.to_model(), settings.to_bridge_options())
    reranker.warm_up()
    return RowTask(
        reranker.info,
        RerankAnswers(reranker, RerankOptions(**settings.options)),
        LineFormat(settings.text_limit, parse_entry),
        ("query", "documents"),
        lambda record: record,
        _columns,
    )


def _columns(pa: Any) -> dict[str, Any]:
    ranked = pa.struct([("index", pa.int64()), ("score", pa.float32()), ("truncated", pa.bool_())])
    return {"ranking": pa.list_(ranked)}


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

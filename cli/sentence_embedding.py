"""The family sentence_embedding on the command line: its options in models.toml, and the subcommand `embed`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer

from ..artifacts.errors import ConfigError, InputError, OnnxMlBridgeError
from ..runtime.handles.embedder import Embedder, Embedding, EmbedOptions
from ..runtime.options import AUTO, DEFAULT_TEXT_LIMIT
from ..runtime.tokenizer import check_text
from .arguments import ModelOption, TextLimitOption, ThreadsOption, VariantOption
from .bulk.options import with_files
from .bulk.run import BulkOptions, run_bulk
from .bulk.task import RowSettings, RowTask
from .console import reported_errors
from .jsonl import LineFormat, check_keys, failure_line, json_line, parse_text, print_answers
from .options import ALLOW_PICKLE, IGNORE_CODE, option
from .store.options import KeysOption, StoreOption


@dataclass(frozen=True)
class Options:
    """The options of a sentence embedding model in models.toml."""

    allow_pickle: bool = option(False, ALLOW_PICKLE)
    ignore_code: bool = option(False, IGNORE_CODE)
    dimensions: list[int] | None = option(
        None, "embedding: number of elements that calls may ask for (Matryoshka models). Can be repeated."
    )
    pooling: str | None = option(
        None, "embedding: pooling of a checkpoint without modules.json, such as mean, cls or lasttoken."
    )


@dataclass(frozen=True)
class EmbedEntry:
    """An input line: a text, and the number of elements of its vector, None for that of the command."""

    text: str
    dimensions: int | None = None


@with_files()
def command(
    model: ModelOption,
    variant: VariantOption = AUTO,
    prompt_name: Annotated[
        str | None, typer.Option(help="Name of the prompt that is prepended to every text.", metavar="NAME")
    ] = None,
    dimensions: Annotated[
        int | None,
        typer.Option(help="Number of elements of the vectors, one of those that the model lists.", metavar="N", min=1),
    ] = None,
    threads: ThreadsOption = None,
    text_limit: TextLimitOption = DEFAULT_TEXT_LIMIT,
    store: StoreOption = None,
    key: KeysOption = None,
    files: BulkOptions | None = None,
) -> None:
    """Embed JSON lines from stdin: {"text": ...} or a JSON string, one per line.

    The key dimensions of a line replaces --dimensions: {"text": ..., "dimensions": 64}.

    The output has one line per input line: {"embedding":[...],"truncated":false}, or
    {"error":{"code","line","message"}} if the line is invalid. After an error the other lines are still processed, and
    the exit status is 1.

    With --input and --output, a file is processed in parts, and a run that was interrupted can be resumed. The parts
    have these lines in the order of the rows, but an error has no message; join them with: cat DIR/part-*.jsonl

    Example: echo '{"text": "Kofi signed the lease."}' | onnx-ml-bridge embed --model dist/all-minilm-l6-v2
    """
    options = {"prompt_name": prompt_name, "dimensions": dimensions}
    settings = RowSettings(model, variant, threads, text_limit, options, store, tuple(key or ()))
    with reported_errors():
        if files is not None:
            run_bulk("embed", open_rows, settings, files)
            return
        task = open_rows(settings)
        print_answers(task.answer, task.line_format, lambda _, answer: json_line(task.to_record(answer)), failure_line)


def open_rows(settings: RowSettings) -> RowTask[EmbedEntry, Embedding]:
    """Open the model; reports invalid options, a missing library and an invalid graph before any input is read."""
    embedder = Embedder.open(settings.to_model(), settings.to_bridge_options())
    options = EmbedOptions(**settings.options)
    embedder.embed([], options)
    embedder.warm_up()
    return RowTask(
        embedder.info,
        EmbedAnswers(embedder, options),
        LineFormat(settings.text_limit, parse_entry),
        ("text", "dimensions"),
        to_record,
        lambda pa: {"embedding": pa.list_(pa.float32()), "truncated": pa.bool_()},
    )


def parse_entry(value: Any, limit: int) -> EmbedEntry:
    """Parse a value that is a string, or an object with `text` and optionally `dimensions`."""
    if not isinstance(value, dict):
        return EmbedEntry(parse_text(value, limit))
    check_keys(value, "text", "dimensions")
    text = check_text(value.get("text", value), None, limit)
    return EmbedEntry(text, _dimensions(value["dimensions"]) if "dimensions" in value else None)


def _dimensions(value: object) -> int:
    if type(value) is int and value >= 1:
        return value
    raise InputError("input_type", "dimensions of the line", expected="an integer >= 1", actual=str(value)[:80])


class EmbedAnswers:
    """Embeds the texts of a batch of lines."""

    def __init__(self, embedder: Embedder, options: EmbedOptions) -> None:
        """Store the model and the options of lines that have none of their own."""
        self._embedder = embedder
        self._options = options

    def __call__(self, entries: Sequence[EmbedEntry]) -> list[Embedding | OnnxMlBridgeError]:
        """Return the embedding or the error of every entry; entries of equal dimensions share a call."""
        indices: defaultdict[int | None, list[int]] = defaultdict(list)
        for index, entry in enumerate(entries):
            indices[entry.dimensions].append(index)
        answers: dict[int, Embedding | OnnxMlBridgeError] = {}
        for dimensions, own in indices.items():
            answers |= zip(own, self._embedded([entries[index].text for index in own], dimensions), strict=True)
        return [answers[index] for index in range(len(entries))]

    def _embedded(self, texts: list[str], dimensions: int | None) -> Sequence[Embedding | OnnxMlBridgeError]:
        if dimensions is None:
            return self._embedder.embed_each(texts, self._options)
        try:
            return self._embedder.embed_each(texts, replace(self._options, dimensions=dimensions))
        except ConfigError as error:  # the model does not list the dimensions of these lines
            return [error] * len(texts)


def to_record(answer: Embedding) -> dict[str, Any]:
    """Return the JSON object that is written for one text; the elements of the vector are float32."""
    return {"embedding": answer.vector, "truncated": answer.truncated}

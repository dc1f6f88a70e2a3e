"""The family summarization on the command line: its options in models.toml, and the subcommand `summarize`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..artifacts.errors import InputError, OnnxMlBridgeError
from ..runtime.handles.summarizer import SummarizeOptions, Summarizer, Summary
from ..runtime.options import AUTO, DEFAULT_TEXT_LIMIT
from .arguments import ModelOption, TextLimitOption, ThreadsOption, VariantOption
from .bulk.options import with_files
from .bulk.run import BulkOptions, run_bulk
from .bulk.task import RowSettings, RowTask
from .console import err, out, reported_errors
from .entity_markup import failure_text, rendered, visible
from .jsonl import (
    LineError,
    LineFormat,
    check_keys,
    failure_line,
    json_line,
    parse_text,
    parse_texts,
    print_answers,
)
from .options import ALLOW_PICKLE, option
from .store.options import KeysOption, StoreOption

# The maximum number of lines in a batch. It is small, because generation is slow and the summary of the first line is
# written only after the last line of the batch was summarized.
_LINES_PER_RUN = 8
# The default number of rows of a part, and the maximum number of rows of a call when a file is processed
_PART_ROWS = 64


class Format(StrEnum):
    """The output formats of `summarize`: JSON lines, or the text of each summary."""

    JSONL = "jsonl"
    TEXT = "text"


@dataclass(frozen=True)
class Options:
    """The options of a summarizer in models.toml; None selects a default."""

    allow_pickle: bool = option(False, ALLOW_PICKLE)
    references: Path | None = option(None, "summarization: JSON lines file with texts and reference summaries.")
    parity_inputs: int | None = option(None, "summarization: number of inputs of the parity stage.")

    def __post_init__(self) -> None:
        """Raise `ValueError` if `parity_inputs` is below 1."""
        if self.parity_inputs is not None and self.parity_inputs < 1:
            raise ValueError(f"parity_inputs is {self.parity_inputs}, expected at least 1")


@with_files(part_rows=_PART_ROWS)
def command(
    model: ModelOption,
    variant: VariantOption = AUTO,
    num_beams: Annotated[int | None, typer.Option(help="Number of beams; 1 is greedy search.", metavar="N")] = None,
    min_length: Annotated[
        int | None, typer.Option(help="Minimum length in tokens, including the start token.", metavar="N")
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(help="Maximum length in tokens, including the start token.", metavar="N")
    ] = None,
    length_penalty: Annotated[
        float | None,
        typer.Option(
            help="Exponent of the length by which scores are divided; larger values favor longer summaries.",
            metavar="F",
        ),
    ] = None,
    map_reduce: Annotated[
        bool,
        typer.Option(
            "--map-reduce",
            help="Split long inputs into chunks and summarize the summaries of the chunks, instead of cutting them.",
        ),
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(help="Time limit per line in seconds; disables batching.", metavar="SECONDS"),
    ] = None,
    threads: ThreadsOption = None,
    text_limit: TextLimitOption = DEFAULT_TEXT_LIMIT,
    store: StoreOption = None,
    key: KeysOption = None,
    output_format: Annotated[
        Format, typer.Option("--format", help="JSON lines, or plain text with one summary per line.")
    ] = Format.JSONL,
    files: BulkOptions | None = None,
) -> None:
    """Summarize JSON lines from stdin: {"messages": [...]}, {"text": ...} or a JSON string.

    The messages of a list are summarized together.

    The output has one line per input line: {"summary":"...","tokens":9,"truncated":false}, or
    {"error":{"code","line","message"}} if the line is invalid. After an error the other lines are still processed, and
    the exit status is 1. `tokens` is the number of generated tokens. `truncated` is true if a part of the input was not
    read. The artifact has a default for every setting.

    With --input and --output, a file is processed in parts, and a run that was interrupted can be resumed. The parts
    have these lines in the order of the rows, but an error has no message; join them with: cat DIR/part-*.jsonl

    Example: echo '{"messages": ["The meeting is on Friday.", "Bring the figures."]}' |
    onnx-ml-bridge summarize --model dist/bart-package-descriptions --format text
    """
    if files is not None and output_format is not Format.JSONL:
        raise typer.BadParameter("--format text requires stdin")
    options = {
        "num_beams": num_beams,
        "min_length": min_length,
        "max_length": max_length,
        "length_penalty": length_penalty,
        "map_reduce": map_reduce,
        "timeout": timeout,
    }
    settings = RowSettings(model, variant, threads, text_limit, options, store, tuple(key or ()))
    with reported_errors():
        if files is not None:
            run_bulk("summarize", open_rows, settings, files)
            return
        with _progress() as progress:
            task = open_rows(settings, progress)
            max_lines = min(task.max_rows, _LINES_PER_RUN)
            print_answers(task.answer, task.line_format, *_writers(output_format), max_lines)


def open_rows(
    settings: RowSettings, progress: Callable[[int, int], None] | None = None
) -> RowTask[tuple[str, ...], Summary]:
    """Open the model; reports invalid options, a missing library and an invalid graph before any input is read.

    :param progress: see `SummarizeOptions`.
    """
    summarizer = Summarizer.open(settings.to_model(), settings.to_bridge_options())
    options = SummarizeOptions(**settings.options)
    summarizer.summarize([], options)
    summarizer.warm_up()
    return RowTask(
        summarizer.info,
        SummaryAnswers(summarizer, replace(options, progress=progress)),
        LineFormat(settings.text_limit, parse_messages),
        ("text", "messages"),
        to_record,
        lambda pa: {"summary": pa.string(), "tokens": pa.int64(), "truncated": pa.bool_()},
        max_rows=_PART_ROWS if options.timeout is None else 1,
    )


def parse_messages(value: Any, limit: int) -> tuple[str, ...]:
    """Parse a value that is a string, or an object with either `text` or `messages`."""
    if not isinstance(value, dict) or "messages" not in value:
        if isinstance(value, dict):
            check_keys(value, "text", "messages")
        return (parse_text(value, limit),)
    check_keys(value, "text", "messages")
    if "text" in value:
        raise InputError("bad_line", "keys", expected="text or messages", actual="both")
    return parse_texts(value["messages"], "messages", limit)


class SummaryAnswers:
    """Summarizes the messages of a batch of lines."""

    def __init__(self, summarizer: Summarizer, options: SummarizeOptions) -> None:
        """Store the model and the options that all lines share."""
        self._summarizer = summarizer
        self._options = options

    def __call__(self, inputs: Sequence[tuple[str, ...]]) -> list[Summary | OnnxMlBridgeError]:
        """Return, for every list of messages, its summary or its error."""
        return self._summarizer.summarize_each(inputs, self._options)


def to_record(summary: Summary) -> dict[str, Any]:
    """Return the JSON object that is written for one summary."""
    return {"summary": summary.text, "tokens": summary.tokens, "truncated": summary.truncated}


def _writers(output_format: Format) -> tuple[Callable[[tuple[str, ...], Summary], bytes], Callable[[LineError], bytes]]:
    if output_format is Format.JSONL:
        return lambda _, summary: json_line(to_record(summary)), failure_line
    return (
        lambda _, summary: visible(summary.text).encode(out.encoding, "replace") + b"\n",
        lambda error: rendered(failure_text(error), out),
    )


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None] | None]:
    """Show a progress bar over texts or chunks if stderr is a terminal and there are several of them."""
    if not err.is_terminal:
        yield None
        return
    columns = (TextColumn("summarizing"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as bars:
        task = bars.add_task("", total=None, visible=False)
        yield lambda done, texts: bars.update(task, completed=done, total=texts, visible=0 < done < texts)

"""`summarize`: messages in JSON lines in, summaries out, as JSON lines or as plain text."""

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
from ..runtime.loading import AUTO
from ..runtime.summarization.summarize_options import SummarizeOptions
from ..runtime.summarization.summarizer import Summarizer, Summary
from ..runtime.tokenizer import DEFAULT_TEXT_LIMIT
from .arguments import ModelOption, TextLimitOption, ThreadsOption, VariantOption
from .console import err, out, reported_errors
from .entity_markup import paint_failure, rendered, visible
from .jsonl import (
    LineError,
    LineFormat,
    check_keys,
    each_answered,
    failure_line,
    json_line,
    parse_text,
    parse_texts,
    print_answers,
)
from .options import ALLOW_PICKLE, option

# A summary takes long, and the first line of a run waits for the last one.
_LINES_PER_RUN = 8


class Format(StrEnum):
    """What answers look like."""

    JSONL = "jsonl"
    TEXT = "text"


@dataclass(frozen=True)
class Options:
    """The options of models.toml; those that are None are left to the defaults."""

    allow_pickle: bool = option(False, ALLOW_PICKLE)
    references: Path | None = option(None, "summarization: JSON lines of texts with their reference summaries.")
    parity_inputs: int | None = option(None, "summarization: the number of inputs that parity is measured on.")

    def __post_init__(self) -> None:
        """Check what types cannot say."""
        if self.parity_inputs is not None and self.parity_inputs < 1:
            raise ValueError(f"parity_inputs is {self.parity_inputs}, expected at least 1")


def command(
    model: ModelOption,
    variant: VariantOption = AUTO,
    num_beams: Annotated[int | None, typer.Option(help="Beams of the search; 1 is greedy search.", metavar="N")] = None,
    min_length: Annotated[
        int | None, typer.Option(help="Tokens before which no summary ends, the start token included.", metavar="N")
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(help="Tokens of a summary at most, the start token included.", metavar="N")
    ] = None,
    length_penalty: Annotated[
        float | None,
        typer.Option(
            help="Exponent of the length that a score is divided by: above 0 for longer summaries.", metavar="F"
        ),
    ] = None,
    map_reduce: Annotated[
        bool,
        typer.Option(
            "--map-reduce",
            help="Read longer texts in parts and summarize their summaries, instead of cutting them.",
        ),
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(help="Seconds that one line may take; lines are answered one by one then.", metavar="SECONDS"),
    ] = None,
    threads: ThreadsOption = None,
    text_limit: TextLimitOption = DEFAULT_TEXT_LIMIT,
    output_format: Annotated[
        Format, typer.Option("--format", help="JSON lines for programs, or plain summaries for people, one a line.")
    ] = Format.JSONL,
) -> None:
    """Summarize JSON lines from stdin: {"messages": [...]} of messages that belong together, {"text": ...} or a string.

    Each line gives one line: {"summary":"...","tokens":9,"truncated":false}, or {"error":{"code","line","message"}} for
    a line that cannot be summarized; the others go on and the exit status is 1 at the end. `tokens` counts what was
    generated, `truncated` says that a part of the input was not read. Settings that are not given are the artifact's.

    Example: echo '{"messages": ["The meeting is on Friday.", "Bring the figures."]}' |
    onnx-ml-bridge summarize --model dist/bart-package-descriptions --format text
    """
    with reported_errors():
        summarizer = Summarizer.open(model, variant, threads=threads, text_limit=text_limit)
        options = SummarizeOptions(num_beams, min_length, max_length, length_penalty, map_reduce, timeout)
        # Wrong settings, a missing library and a graph that does not load are said once, before anything is read
        summarizer.check(options)
        summarizer.load()
        to_line, to_failure = _writers(output_format)
        with _progress() as progress:
            answers = SummaryAnswers(summarizer, replace(options, progress=progress))
            max_lines = _LINES_PER_RUN if timeout is None else 1
            print_answers(answers, LineFormat(text_limit, parse_messages), to_line, to_failure, max_lines)


def parse_messages(value: Any, limit: int) -> tuple[str, ...]:
    """The messages of a line that is a string, or an object with either `text` or `messages`."""
    if not isinstance(value, dict) or "messages" not in value:
        if isinstance(value, dict):
            check_keys(value, "text", "messages")
        return (parse_text(value, limit),)
    check_keys(value, "text", "messages")
    if "text" in value:
        raise InputError("bad_line", "keys", expected="text or messages", got="both")
    return parse_texts(value["messages"], "messages", limit)


class SummaryAnswers:
    """Summaries of the messages of lines."""

    def __init__(self, summarizer: Summarizer, options: SummarizeOptions) -> None:
        """Use one model and the options of all lines."""
        self._summarizer = summarizer
        self._options = options

    def __call__(self, inputs: Sequence[tuple[str, ...]]) -> list[Summary | OnnxMlBridgeError]:
        """The answer to every line's messages, or its error."""
        return each_answered(self._summarize, inputs)

    def _summarize(self, inputs: Sequence[tuple[str, ...]]) -> list[Summary]:
        return self._summarizer.summarize_detailed(inputs, self._options)


def to_record(found: Summary) -> dict[str, Any]:
    """The answer to a line, as it is printed."""
    return {"summary": found.text, "tokens": found.tokens, "truncated": found.truncated}


def _writers(output_format: Format) -> tuple[Callable[[tuple[str, ...], Summary], bytes], Callable[[LineError], bytes]]:
    if output_format is Format.JSONL:
        return lambda _, found: json_line(to_record(found)), failure_line
    return (
        lambda _, found: visible(found.text).encode(out.encoding, "replace") + b"\n",
        lambda error: rendered(paint_failure(error), out),
    )


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None] | None]:
    """A bar of the texts or parts of texts that are done, where standard error is a terminal and there are several."""
    if not err.is_terminal:
        yield None
        return
    columns = (TextColumn("summarizing"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as bars:
        task = bars.add_task("", total=None, visible=False)
        yield lambda done, texts: bars.update(task, completed=done, total=texts, visible=0 < done < texts)

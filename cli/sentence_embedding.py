"""The family sentence_embedding on the command line: its options in models.toml, and the subcommand `embed`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from ..runtime.handles.embedder import Embedder, Embedding, EmbedOptions
from ..runtime.options import AUTO, DEFAULT_TEXT_LIMIT
from .arguments import ModelOption, TextLimitOption, ThreadsOption, VariantOption
from .bulk.options import with_files
from .bulk.run import BulkOptions, run_bulk
from .bulk.task import RowSettings, RowTask
from .console import reported_errors
from .jsonl import LineFormat, failure_line, json_line, parse_text, print_answers
from .options import ALLOW_PICKLE, IGNORE_CODE, option


@dataclass(frozen=True)
class Options:
    """The options of a sentence embedding model in models.toml."""

    allow_pickle: bool = option(False, ALLOW_PICKLE)
    ignore_code: bool = option(False, IGNORE_CODE)


@with_files()
def command(
    model: ModelOption,
    variant: VariantOption = AUTO,
    prompt_name: Annotated[
        str | None, typer.Option(help="Name of the prompt that is prepended to every text.", metavar="NAME")
    ] = None,
    threads: ThreadsOption = None,
    text_limit: TextLimitOption = DEFAULT_TEXT_LIMIT,
    files: BulkOptions | None = None,
) -> None:
    """Embed JSON lines from stdin: {"text": ...} or a JSON string, one per line.

    The output has one line per input line: {"embedding":[...],"truncated":false}, or
    {"error":{"code","line","message"}} if the line is invalid. After an error the other lines are still processed, and
    the exit status is 1.

    With --input and --output, a file is processed in parts, and a run that was interrupted can be resumed. The parts
    have these lines in the order of the rows, but an error has no message; join them with: cat DIR/part-*.jsonl

    Example: echo '{"text": "Kofi signed the lease."}' | onnx-ml-bridge embed --model dist/all-minilm-l6-v2
    """
    settings = RowSettings(model, variant, threads, text_limit, {"prompt_name": prompt_name})
    with reported_errors():
        if files is not None:
            run_bulk("embed", open_rows, settings, files)
            return
        task = open_rows(settings)
        print_answers(task.answer, task.line_format, lambda _, answer: json_line(task.to_record(answer)), failure_line)


def open_rows(settings: RowSettings) -> RowTask[str, Embedding]:
    """Open the model; reports an unknown prompt, a missing library and an invalid graph before any input is read."""
    embedder = Embedder.open(settings.to_model(), settings.to_bridge_options())
    options = EmbedOptions(**settings.options)
    embedder.embed([], options)
    embedder.warm_up()
    return RowTask(
        embedder.info,
        lambda texts: embedder.embed_each(texts, options),
        LineFormat(settings.text_limit, parse_text),
        ("text",),
        to_record,
        lambda pa: {"embedding": pa.list_(pa.float32()), "truncated": pa.bool_()},
    )


def to_record(answer: Embedding) -> dict[str, Any]:
    """Return the JSON object that is written for one text; the elements of the vector are float32."""
    return {"embedding": answer.vector, "truncated": answer.truncated}

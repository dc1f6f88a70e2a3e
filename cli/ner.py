"""The subcommand `ner`, which the families of the task `ner` share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Annotated, Any

import numpy as np
import typer

from ..artifacts.errors import ConfigError, InputError, OnnxMlBridgeError
from ..artifacts.ner import STRATEGIES
from ..runtime.entities import Entities, Entity
from ..runtime.handles.recognizer import LABEL_OPTIONS, LabeledBackend, RecognizeOptions, Recognizer
from ..runtime.options import AUTO, DEFAULT_TEXT_LIMIT
from ..runtime.tokenizer import check_text
from .arguments import ModelOption, TextLimitOption, ThreadsOption, VariantOption
from .bulk.options import with_files
from .bulk.run import BulkOptions, run_bulk
from .bulk.task import RowSettings, RowTask
from .console import out, reported_errors
from .entity_markup import failure_text, highlighted_entities, rendered
from .jsonl import LineError, LineFormat, check_keys, failure_line, json_line, parse_text, print_answers
from .store.options import KeysOption, StoreOption


class Format(StrEnum):
    """The output formats of `ner`: JSON lines, or a table for people to read."""

    JSONL = "jsonl"
    TABLE = "table"


def _known_strategy(value: str | None) -> str | None:
    if value is not None and value not in STRATEGIES:
        raise typer.BadParameter(f"{value!r} is not one of {', '.join(STRATEGIES)}")
    return value


@with_files()
def command(
    model: ModelOption,
    variant: VariantOption = AUTO,
    aggregation_strategy: Annotated[
        str | None,
        typer.Option(
            help=f"Aggregation strategy: {', '.join(STRATEGIES)} (transformers). Default: the artifact's.",
            metavar="S",
            callback=_known_strategy,
        ),
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(
            help="Split long texts into windows that overlap by N tokens (transformers) or words (GLiNER). "
            "Default: the artifact's.",
            metavar="N",
            min=0,
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="Labels to find, separated by commas (GLiNER). Default: the artifact's.", metavar="A,B"),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Score that entities must exceed, 0 to 1 (GLiNER). Default: the artifact's.", metavar="P"),
    ] = None,
    nested: Annotated[
        bool | None,
        typer.Option("--nested/--flat", help="Allow entities inside of others (GLiNER). Default: the artifact's."),
    ] = None,
    multi_label: Annotated[
        bool | None,
        typer.Option(
            "--multi-label/--single-label",
            help="Allow several labels for the same words (GLiNER). Default: the artifact's.",
        ),
    ] = None,
    output_format: Annotated[
        Format,
        typer.Option("--format", help="JSON lines, or texts with highlighted entities."),
    ] = Format.JSONL,
    threads: ThreadsOption = None,
    text_limit: TextLimitOption = DEFAULT_TEXT_LIMIT,
    store: StoreOption = None,
    key: KeysOption = None,
    files: BulkOptions | None = None,
) -> None:
    """Recognize named entities in JSON lines from stdin: {"text": ...} or a JSON string, one per line.

    spaCy models that require sentence starts read lines such as {"text": ..., "sentence_starts": [0, ...]}, with
    offsets in characters. For GLiNER models, "labels", "threshold", "nested" and "multi_label" of a line replace the
    options of the command.

    The output has one line per input line:
    {"entities":[{"text","label","start","end","start_byte","end_byte","score"}],"truncated":false}, or
    {"error":{"code","line","message"}} if the line is invalid. After an error the other lines
    are still processed, and the exit status is 1. Offsets are in characters and in bytes of UTF-8; the end is
    exclusive. Models without scores omit score.

    With --input and --output, a file is processed in parts, and a run that was interrupted can be resumed. The parts
    have these lines in the order of the rows, but an error has no message; join them with: cat DIR/part-*.jsonl

    Example: echo '"Kofi Annan met Ada in Paris."' | onnx-ml-bridge ner --model dist/en-core-web-sm --format table
    """
    if files is not None and output_format is not Format.JSONL:
        raise typer.BadParameter("--format table requires stdin")
    options: dict[str, Any] = {"aggregation_strategy": aggregation_strategy, "stride": stride}
    names = None if labels is None else [label.strip() for label in labels.split(",") if label.strip()]
    given = {"labels": names, "threshold": threshold, "nested": nested, "multi_label": multi_label}
    # Options that are not given are left out, so that the state of runs over files stays as it was without them
    options |= {name: value for name, value in given.items() if value is not None}
    settings = RowSettings(model, variant, threads, text_limit, options, store, tuple(key or ()))
    with reported_errors():
        if files is not None:
            run_bulk("ner", open_rows, settings, files)
            return
        task = open_rows(settings)
        print_answers(task.answer, task.line_format, *_writers(output_format))


def open_rows(settings: RowSettings) -> RowTask[NerEntry, Entities]:
    """Open the model; reports invalid options, a missing library and an invalid graph before any input is read.

    Missing sentence starts or labels are not an error here, because every line can have its own.
    """
    recognizer = Recognizer.open(settings.to_model(), settings.to_bridge_options())
    options = RecognizeOptions(**settings.options)
    is_labeled = isinstance(recognizer.backend, LabeledBackend)
    with suppress(InputError):
        recognizer.recognize([], replace(options, labels=["a"]) if is_labeled and options.labels is None else options)
    recognizer.warm_up()
    return RowTask(
        recognizer.info,
        EntityAnswers(recognizer, options),
        LineFormat(settings.text_limit, parse_entry),
        ("text", "sentence_starts", *LABEL_OPTIONS),
        to_record,
        _columns,
    )


def _columns(pa: Any) -> dict[str, Any]:
    offsets = [(name, pa.int64()) for name in ("start", "end", "start_byte", "end_byte")]
    entity = pa.struct([("text", pa.string()), ("label", pa.string()), *offsets, ("score", pa.float32())])
    return {"entities": pa.list_(entity), "truncated": pa.bool_()}


@dataclass(frozen=True)
class NerEntry:
    """An input line: a text, the character offsets of its sentence starts or None, and the options that it has."""

    text: str
    sentence_starts: tuple[int, ...] | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def call(self) -> str:
        """A key that is equal for lines that one call can answer."""
        return repr((self.sentence_starts is not None, sorted(self.options.items())))


def parse_entry(value: Any, limit: int) -> NerEntry:
    """Parse a value that is a string, or an object with `text` and optionally `sentence_starts` and options."""
    if not isinstance(value, dict):
        return NerEntry(parse_text(value, limit))
    check_keys(value, "text", "sentence_starts", *LABEL_OPTIONS)
    text = check_text(value.get("text", value), None, limit)
    starts = _offsets(value["sentence_starts"]) if "sentence_starts" in value else None
    return NerEntry(text, starts, {name: value[name] for name in LABEL_OPTIONS if value.get(name) is not None})


def _offsets(value: object) -> tuple[int, ...]:
    if isinstance(value, list) and all(type(offset) is int and offset >= 0 for offset in value):
        return tuple(value)
    raise InputError(
        "sentence_starts", "sentence_starts of the line", expected="a list of integers >= 0", actual=str(value)[:80]
    )


class EntityAnswers:
    """Recognizes the entities of a batch of lines."""

    def __init__(self, recognizer: Recognizer, options: RecognizeOptions) -> None:
        """Store the model and the options that all lines share."""
        self._recognizer = recognizer
        self._options = options

    def __call__(self, entries: Sequence[NerEntry]) -> list[Entities | OnnxMlBridgeError]:
        """Return, for every entry, the entities of its text or its error.

        Entries with different options are processed in separate calls, and so are entries with and without sentence
        starts, because a call has sentence starts for all texts or for none.
        """
        groups: dict[str, list[int]] = {}
        for index, entry in enumerate(entries):
            groups.setdefault(entry.call, []).append(index)
        answers: dict[int, Entities | OnnxMlBridgeError] = {}
        for indices in groups.values():
            answers |= zip(indices, self._recognized([entries[index] for index in indices]), strict=True)
        return [answers[index] for index in range(len(entries))]

    def _recognized(self, entries: Sequence[NerEntry]) -> Sequence[Entities | OnnxMlBridgeError]:
        """Answer entries with the same options, which all have sentence starts or all have none."""
        starts = [entry.sentence_starts for entry in entries if entry.sentence_starts is not None]
        options = replace(self._options, sentence_starts=starts or None, **entries[0].options)
        try:
            return self._recognizer.recognize_each([entry.text for entry in entries], options)
        except (ConfigError, InputError) as error:  # an option of the lines, sentence starts or labels
            return [error] * len(entries)


def to_record(answer: Entities) -> dict[str, Any]:
    """Return the JSON object that is written for one text; scores are float32."""
    return {"entities": [_entity_record(entity) for entity in answer.entities], "truncated": answer.truncated}


def _entity_record(entity: Entity) -> dict[str, Any]:
    record = asdict(entity)
    score = record.pop("score")
    return record if score is None else {**record, "score": np.float32(score)}


def _writers(output_format: Format) -> tuple[Callable[[NerEntry, Entities], bytes], Callable[[LineError], bytes]]:
    if output_format is Format.JSONL:
        return lambda _, answer: json_line(to_record(answer)), failure_line
    return (
        lambda entry, answer: rendered(highlighted_entities(entry.text, answer, out), out),
        lambda error: rendered(failure_text(error), out),
    )

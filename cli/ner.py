"""`ner`, for both families of named entities: JSON lines in, entities out, as JSON lines or for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Annotated, Any

import numpy as np
import typer

from ..artifacts.errors import InputError, OnnxMlBridgeError
from ..artifacts.ner import STRATEGIES
from ..runtime.entities import Entities, Entity, NerOptions, Recognizer
from ..runtime.loading import AUTO
from ..runtime.ner import open_recognizer
from ..runtime.tokenizer import DEFAULT_TEXT_LIMIT, check_text
from .arguments import ModelOption, TextLimitOption, ThreadsOption, VariantOption
from .console import out, reported_errors
from .entity_markup import paint_entities, paint_failure, rendered
from .jsonl import LineError, LineFormat, check_keys, each_answered, failure_line, json_line, parse_text, print_answers


class Format(StrEnum):
    """What answers look like."""

    JSONL = "jsonl"
    TABLE = "table"


def _known_strategy(value: str | None) -> str | None:
    if value is not None and value not in STRATEGIES:
        raise typer.BadParameter(f"{value!r} is not one of {', '.join(STRATEGIES)}")
    return value


def command(
    model: ModelOption,
    variant: VariantOption = AUTO,
    aggregation_strategy: Annotated[
        str | None,
        typer.Option(
            help=f"How tokens become entities: {', '.join(STRATEGIES)} (transformers). Default: the artifact's.",
            metavar="S",
            callback=_known_strategy,
        ),
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(
            help="Read long texts whole, in windows that share N tokens (transformers). Default: the artifact's.",
            metavar="N",
            min=0,
        ),
    ] = None,
    output_format: Annotated[
        Format,
        typer.Option("--format", help="JSON lines for programs, or texts with their entities marked for people."),
    ] = Format.JSONL,
    threads: ThreadsOption = None,
    text_limit: TextLimitOption = DEFAULT_TEXT_LIMIT,
) -> None:
    """Find named entities in JSON lines from stdin: {"text": ...} or a JSON string, one a line.

    For spaCy models whose sentences are given, lines are {"text": ..., "sentence_starts": [0, ...]}, in characters.

    Each line gives one line: {"entities":[{"text","label","start","end","start_byte","end_byte","score"}],
    "truncated":false}, without score from models that have none, or {"error":{"code","line","message"}} for a line that
    cannot be read; the others go on and the exit status is 1 at the end. Places count characters and bytes of UTF-8,
    with the ends exclusive.

    Example: echo '"Kofi Annan met Ada in Paris."' | onnx-ml-bridge ner --model dist/en-core-web-sm --format table
    """
    with reported_errors():
        recognizer = open_recognizer(model, variant, threads=threads, text_limit=text_limit)
        options = NerOptions(aggregation_strategy, stride)
        # Wrong options, a missing library and a graph that does not load are reported once, before anything is read;
        # sentence starts come with the lines
        with suppress(InputError):
            recognizer.check(options)
        recognizer.load()
        to_line, to_failure = _writers(output_format)
        print_answers(EntityAnswers(recognizer, options), LineFormat(text_limit, parse_entry), to_line, to_failure)


@dataclass(frozen=True)
class NerEntry:
    """A line: a text, and the offsets in characters at which its sentences start, None where the line has none."""

    text: str
    sentence_starts: tuple[int, ...] | None = None


def parse_entry(value: Any, limit: int) -> NerEntry:
    """The entry of a line that is a string, or an object with `text` and perhaps `sentence_starts`."""
    if not isinstance(value, dict):
        return NerEntry(parse_text(value, limit))
    check_keys(value, "text", "sentence_starts")
    text = check_text(value.get("text", value), None, limit)
    return NerEntry(text, _offsets(value["sentence_starts"]) if "sentence_starts" in value else None)


def _offsets(value: object) -> tuple[int, ...]:
    if isinstance(value, list) and all(type(offset) is int and offset >= 0 for offset in value):
        return tuple(value)
    raise InputError(
        "sentence_starts", "sentence_starts of the line", expected="a list of whole numbers from 0", got=str(value)[:80]
    )


class EntityAnswers:
    """Entities of the texts of lines."""

    def __init__(self, recognizer: Recognizer, options: NerOptions) -> None:
        """Use one model and the options of all lines; sentence starts are the lines' own."""
        self._recognizer = recognizer
        self._options = options

    def __call__(self, entries: Sequence[NerEntry]) -> list[Entities | OnnxMlBridgeError]:
        """The answer to every entry, or its error.

        Entries with sentence starts and entries without are two calls: a call has them for every text or for none.
        """
        answers: dict[int, Entities | OnnxMlBridgeError] = {}
        for has_starts in (False, True):
            indices = [
                index for index, entry in enumerate(entries) if (entry.sentence_starts is not None) == has_starts
            ]
            answers |= zip(indices, each_answered(self._recognize, [entries[index] for index in indices]), strict=True)
        return [answers[index] for index in range(len(entries))]

    def _recognize(self, entries: Sequence[NerEntry]) -> list[Entities]:
        starts = [entry.sentence_starts for entry in entries if entry.sentence_starts is not None]
        options = replace(self._options, sentence_starts=starts or None)
        return self._recognizer.recognize([entry.text for entry in entries], options)


def to_record(found: Entities) -> dict[str, Any]:
    """The answer to a line, as it is printed; a score is a float32."""
    return {"entities": [_entity_record(entity) for entity in found.entities], "truncated": found.truncated}


def _entity_record(entity: Entity) -> dict[str, Any]:
    record = asdict(entity)
    score = record.pop("score")
    return record if score is None else {**record, "score": np.float32(score)}


def _writers(output_format: Format) -> tuple[Callable[[NerEntry, Entities], bytes], Callable[[LineError], bytes]]:
    if output_format is Format.JSONL:
        return lambda _, found: json_line(to_record(found)), failure_line
    return (
        lambda entry, found: rendered(paint_entities(entry.text, found, out), out),
        lambda error: rendered(paint_failure(error), out),
    )

"""`ner`: JSON lines in, named entities out, as JSON lines or for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from ..artifacts.errors import InputError, OnnxMlBridgeError
from ..runtime.entities import Entities, Entity, NerOptions, Recognizer
from ..runtime.loading import AUTO
from ..runtime.ner import open_recognizer
from ..runtime.token_classification.aggregation import STRATEGIES
from ..runtime.tokenizer import DEFAULT_TEXT_LIMIT
from .console import out, reported_errors
from .entity_markup import paint_entities, paint_failure, rendered
from .jsonl import Input, LineError, Rules, each_answered, failure_line, json_line, print_answers


class Format(StrEnum):
    """What answers look like."""

    JSONL = "jsonl"
    TABLE = "table"


def _known_strategy(value: str | None) -> str | None:
    if value is not None and value not in STRATEGIES:
        raise typer.BadParameter(f"{value!r} is not one of {', '.join(STRATEGIES)}")
    return value


def ner_command(
    model: Annotated[Path, typer.Option(help="The artifact's folder.", metavar="DIR")],
    variant: Annotated[str, typer.Option(help="fp32, int8, or auto: by instruction set.")] = AUTO,
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
    threads: Annotated[int | None, typer.Option(help="Threads of one call.", min=1)] = None,
    text_limit: Annotated[int, typer.Option(help="Largest text in bytes of UTF-8.", min=1)] = DEFAULT_TEXT_LIMIT,
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
        # Wrong options, a missing library and a graph that does not load are said once, before anything is read;
        # sentence starts come with the lines
        with suppress(InputError):
            recognizer.check(options)
        recognizer.load()
        to_line, to_failure = _writers(output_format)
        print_answers(EntityAnswers(recognizer, options), Rules(text_limit, "sentence_starts"), to_line, to_failure)


class EntityAnswers:
    """Entities of the inputs of lines."""

    def __init__(self, recognizer: Recognizer, options: NerOptions) -> None:
        """Take the model and the options of all lines; sentence starts are the lines' own."""
        self._recognizer = recognizer
        self._options = options

    def __call__(self, inputs: Sequence[Input]) -> list[Entities | OnnxMlBridgeError]:
        """The answer to every input, or its error.

        Inputs with sentence starts and inputs without are two calls: a model wants them for every text or for none.
        """
        answers: dict[int, Entities | OnnxMlBridgeError] = {}
        for has_starts in (False, True):
            indices = [index for index, entry in enumerate(inputs) if (entry.sentence_starts is not None) == has_starts]
            answers |= zip(indices, each_answered(self._recognize, [inputs[index] for index in indices]), strict=True)
        return [answers[index] for index in range(len(inputs))]

    def _recognize(self, inputs: Sequence[Input]) -> list[Entities]:
        starts = [entry.sentence_starts for entry in inputs if entry.sentence_starts is not None]
        options = replace(self._options, sentence_starts=starts or None)
        return self._recognizer.recognize([entry.text for entry in inputs], options)


def to_record(found: Entities) -> dict[str, Any]:
    """The answer to a line, as it is printed; a score is a float32."""
    return {"entities": [_entity_record(entity) for entity in found.entities], "truncated": found.truncated}


def _entity_record(entity: Entity) -> dict[str, Any]:
    record = asdict(entity)
    score = record.pop("score")
    return record if score is None else {**record, "score": np.float32(score)}


def _writers(output_format: Format) -> tuple[Callable[[Input, Entities], bytes], Callable[[LineError], bytes]]:
    if output_format is Format.JSONL:
        return lambda _, found: json_line(to_record(found)), failure_line
    return (
        lambda entry, found: rendered(paint_entities(entry.text, found, out), out),
        lambda error: rendered(paint_failure(error), out),
    )

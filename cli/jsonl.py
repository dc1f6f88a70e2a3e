"""JSON lines in, one answer per line out: in order, and as soon as it is there."""

from __future__ import annotations

import io
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar

import orjson
import typer

from ..artifacts import strict_json
from ..artifacts.errors import InferenceError, InputError, OnnxMlBridgeError, StoppedError
from ..runtime.tokenizer import check_text
from .console import EXIT_FAILED

# A run takes the lines that have arrived, up to this many: a slow writer gets every answer at once, a file is batched.
_LINES_PER_RUN = 256


@dataclass(frozen=True)
class Line:
    """A line of input without its newline; numbers start at 1. `raw` is None for a line too long to hold any text."""

    number: int
    raw: bytes | None


@dataclass(frozen=True)
class Rules:
    """Which lines are read: the largest text in bytes of UTF-8, and what an object may have besides `text`.

    `besides` is `sentence_starts`, or `messages` in the text's place.
    """

    text_limit: int
    besides: str | None = None


@dataclass(frozen=True)
class Input:
    """What a line holds: a text, and the places in characters where its sentences start if the line says them.

    `messages` are those that stand in the text's place, None for the text alone.
    """

    text: str
    sentence_starts: tuple[int, ...] | None = None
    messages: tuple[str, ...] | None = None


@dataclass(frozen=True)
class LineError:
    """Why a line has no answer."""

    code: str
    line: int
    message: str

    @classmethod
    def of(cls, error: OnnxMlBridgeError, line: int) -> LineError:
        """The line says where; the place in a batch that some errors start with would say nothing to a user."""
        message = str(error)
        if isinstance(error, InputError) and error.index is not None:
            message = message.removeprefix(f"text {error.index}: ")
        return cls(error.code, line, message.encode("utf-8", "backslashreplace").decode())


Result = TypeVar("Result")
# Results of some inputs, or the errors in their places.
Answer = Callable[[Sequence[Input]], Sequence[Result | OnnxMlBridgeError]]
# What a run makes of a line in the end: an input with its result, or why there is none.
Answered = tuple[Input, Result] | LineError


def print_answers(
    answer: Answer[Result],
    rules: Rules,
    to_line: Callable[[Input, Result], bytes],
    to_failure: Callable[[LineError], bytes],
    most: int = _LINES_PER_RUN,
) -> None:
    """Answer standard input line by line; ends with the status `EXIT_FAILED` where any line failed.

    :param most: lines that are answered together, if they are there: the first waits for the last.
    :raises OSError: when standard input cannot be read.
    """
    failed = False
    for lines in arriving_lines(_stdin(), most, longest=_longest_line(rules.text_limit)):
        written = []
        for answered in answer_lines(answer, lines, rules):
            failed |= isinstance(answered, LineError)
            written.append(to_failure(answered) if isinstance(answered, LineError) else to_line(*answered))
        sys.stdout.buffer.write(b"".join(written))
        sys.stdout.buffer.flush()
    if failed:
        raise typer.Exit(EXIT_FAILED)


def json_line(value: dict[str, Any]) -> bytes:
    """One JSON object and a newline; float32 values of numpy in their shortest form."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)


def failure_line(error: LineError) -> bytes:
    """The answer, in JSON, to a line that failed."""
    return json_line({"error": {"code": error.code, "line": error.line, "message": error.message}})


def arriving_lines(stream: BinaryIO, most: int, *, longest: int) -> Iterator[list[Line]]:
    """Yield lines as they arrive: at least one, and all that are there, up to `most`.

    Lines over `longest` bytes are read past without being kept.

    :raises OSError: when the stream cannot be read.
    """
    waiting: queue.Queue[Line | OSError | None] = queue.Queue(maxsize=most)
    threading.Thread(target=_read_into, args=(waiting, stream, longest), daemon=True).start()
    lines: list[Line] = []
    while True:
        item = waiting.get()
        if isinstance(item, Line):
            lines.append(item)
        if lines and (not isinstance(item, Line) or len(lines) == most or waiting.empty()):
            yield lines
            lines = []
        if item is None:
            return
        if isinstance(item, OSError):
            raise item


def answer_lines(answer: Answer[Result], lines: Sequence[Line], rules: Rules) -> list[Answered[Result]]:
    """Every line's input with its result, or why it has none, in order; a bad line costs no other line its answer."""
    inputs: dict[int, Input] = {}
    answered: dict[int, Answered[Result]] = {}
    for index, line in enumerate(lines):
        try:
            inputs[index] = parse_line(line.raw, rules)
        except InputError as error:
            answered[index] = LineError.of(error, line.number)
    for (index, entry), result in zip(inputs.items(), answer(list(inputs.values())), strict=True):
        if isinstance(result, OnnxMlBridgeError):
            answered[index] = LineError.of(result, lines[index].number)
        else:
            answered[index] = entry, result
    return [answered[index] for index in range(len(lines))]


def each_answered(
    run: Callable[[Sequence[Input]], Sequence[Result]], inputs: Sequence[Input]
) -> list[Result | OnnxMlBridgeError]:
    """Run all inputs at once; where that fails every one for itself, so that one does not cost the others theirs."""
    if not inputs:
        return []
    try:
        return list(run(inputs))
    except (InferenceError, InputError, StoppedError) as error:
        return [error] if len(inputs) == 1 else [each_answered(run, [entry])[0] for entry in inputs]


def parse_line(raw: bytes | None, rules: Rules) -> Input:
    """The input of a line: a JSON string, or an object with `text` and what the rules take besides.

    :raises InputError: for anything else, and for a text over the limit.
    """
    if raw is None:
        raise InputError(
            "input_too_large", "too large for any text", expected=f"at most {rules.text_limit} bytes of text"
        )
    try:
        value = strict_json.parse_any(raw)
    except ValueError as error:
        raise InputError("bad_line", str(error)) from error
    if not isinstance(value, dict):
        return Input(check_text(value, None, rules.text_limit))
    known = ("text", *([rules.besides] if rules.besides else []))
    if unknown := sorted(set(value) - set(known)):
        expected = " and ".join(known) if len(known) > 1 else "text alone"
        raise InputError("bad_line", "keys", expected=expected, got=", ".join(unknown))
    if "messages" in value:
        return _messages(value, rules.text_limit)
    text = check_text(value.get("text", value), None, rules.text_limit)
    return Input(text, _places(value["sentence_starts"]) if "sentence_starts" in value else None)


def _messages(value: dict[str, Any], limit: int) -> Input:
    if "text" in value:
        raise InputError("bad_line", "keys", expected="text or messages", got="both")
    messages = value["messages"]
    if not isinstance(messages, list):
        raise InputError("input_type", "messages of the line", expected="a list of strings", got=str(messages)[:80])
    return Input("", messages=tuple(check_text(message, None, limit) for message in messages))


def _places(value: object) -> tuple[int, ...]:
    if isinstance(value, list) and all(type(index) is int and index >= 0 for index in value):
        return tuple(value)
    raise InputError(
        "sentence_starts", "sentence_starts of the line", expected="a list of whole numbers from 0", got=str(value)[:80]
    )


def _read_into(waiting: queue.Queue[Line | OSError | None], stream: BinaryIO, longest: int) -> None:
    """Put every line into the queue, then None, or the error that ended the reading."""
    try:
        number = 0
        while raw := stream.readline(longest + 1):
            number += 1
            is_whole = raw.endswith(b"\n") or len(raw) <= longest
            while not is_whole and (rest := stream.readline(longest)) and not rest.endswith(b"\n"):
                pass
            waiting.put(Line(number, raw.removesuffix(b"\n") if is_whole else None))
    except OSError as error:
        waiting.put(error)
    else:
        waiting.put(None)


def _stdin() -> BinaryIO:
    """Standard input, or nothing at all where the process was started without one."""
    return sys.stdin.buffer if sys.stdin is not None else io.BytesIO()


def _longest_line(text_limit: int) -> int:
    """Bytes a line may have: a byte of text takes at most six in JSON, and a key and blanks stand around it."""
    return 6 * text_limit + 1024

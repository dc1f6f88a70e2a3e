"""JSON lines in, one answer per line out: in order, and as soon as it is there."""

from __future__ import annotations

import io
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Generic, TypeVar

import orjson
import typer

from ..artifacts import strict_json
from ..artifacts.errors import InferenceError, InputError, OnnxMlBridgeError, StoppedError
from ..runtime.tokenizer import check_text
from .console import EXIT_FAILED

# A run takes the lines that have arrived, up to this many: a slow writer gets every answer at once, a file is batched.
_LINES_PER_RUN = 256
# What a line holds, and what it is answered with
Entry = TypeVar("Entry")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Line:
    """A line of input without its newline; numbers start at 1. `raw` is None for a line too long to hold any text."""

    number: int
    raw: bytes | None


@dataclass(frozen=True)
class LineFormat(Generic[Entry]):
    """What a line may hold: the largest text in bytes of UTF-8, and how the line's JSON value becomes an entry.

    `parse` receives the value and the limit, and raises `InputError` for a value of another form.
    """

    text_limit: int
    parse: Callable[[Any, int], Entry]


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


# Results of some entries, or the errors in their positions
Answer = Callable[[Sequence[Entry]], Sequence[Result | OnnxMlBridgeError]]
# What a line becomes in the end: an entry with its result, or the reason why there is none
Answered = tuple[Entry, Result] | LineError


def print_answers(
    answer: Answer[Entry, Result],
    line_format: LineFormat[Entry],
    to_line: Callable[[Entry, Result], bytes],
    to_failure: Callable[[LineError], bytes],
    max_lines: int = _LINES_PER_RUN,
) -> None:
    """Answer standard input line by line; ends with the status `EXIT_FAILED` where any line failed.

    :param max_lines: lines that are answered together where they have arrived: the first waits for the last.
    :raises OSError: when standard input cannot be read.
    """
    failed = False
    for lines in arriving_lines(_stdin(), max_lines, max_bytes=_max_line_bytes(line_format.text_limit)):
        written = []
        for answered in answer_lines(answer, lines, line_format):
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


def arriving_lines(stream: BinaryIO, max_lines: int, *, max_bytes: int) -> Iterator[list[Line]]:
    """Yield lines as they arrive: at least one, and all that have arrived, up to `max_lines`.

    Lines of more than `max_bytes` are read past without being kept.

    :raises OSError: when the stream cannot be read.
    """
    waiting: queue.Queue[Line | OSError | None] = queue.Queue(maxsize=max_lines)
    threading.Thread(target=_read_into, args=(waiting, stream, max_bytes), daemon=True).start()
    lines: list[Line] = []
    while True:
        item = waiting.get()
        if isinstance(item, Line):
            lines.append(item)
        if lines and (not isinstance(item, Line) or len(lines) == max_lines or waiting.empty()):
            yield lines
            lines = []
        if item is None:
            return
        if isinstance(item, OSError):
            raise item


def answer_lines(
    answer: Answer[Entry, Result], lines: Sequence[Line], line_format: LineFormat[Entry]
) -> list[Answered[Entry, Result]]:
    """Every line's entry with its result, or why it has none, in order; a bad line costs no other line its answer."""
    entries: dict[int, Entry] = {}
    answered: dict[int, Answered[Entry, Result]] = {}
    for index, line in enumerate(lines):
        try:
            entries[index] = parse_line(line.raw, line_format)
        except InputError as error:
            answered[index] = LineError.of(error, line.number)
    for (index, entry), result in zip(entries.items(), answer(list(entries.values())), strict=True):
        if isinstance(result, OnnxMlBridgeError):
            answered[index] = LineError.of(result, lines[index].number)
        else:
            answered[index] = entry, result
    return [answered[index] for index in range(len(lines))]


def each_answered(
    run: Callable[[Sequence[Entry]], Sequence[Result]], entries: Sequence[Entry]
) -> list[Result | OnnxMlBridgeError]:
    """Run all entries at once; where that fails each alone, so that one does not cost the others their results."""
    if not entries:
        return []
    try:
        return list(run(entries))
    except (InferenceError, InputError, StoppedError) as error:
        return [error] if len(entries) == 1 else [each_answered(run, [entry])[0] for entry in entries]


def parse_line(raw: bytes | None, line_format: LineFormat[Entry]) -> Entry:
    """The entry of a line.

    :raises InputError: for a line that is no JSON, one of another form, and a text over the limit.
    """
    if raw is None:
        expected = f"at most {line_format.text_limit} bytes of text"
        raise InputError("input_too_large", "too large for any text", expected=expected)
    try:
        value = strict_json.parse_any(raw)
    except ValueError as error:
        raise InputError("bad_line", str(error)) from error
    return line_format.parse(value, line_format.text_limit)


def parse_text(value: Any, limit: int) -> str:
    """The text of a line that is a string, or an object with the key `text` and no other."""
    if isinstance(value, dict):
        check_keys(value, "text")
        value = value.get("text", value)
    return check_text(value, None, limit)


def check_keys(value: Mapping[str, Any], *known: str) -> None:
    """Raise `InputError` for keys of an object beside the known ones."""
    if unknown := sorted(set(value) - set(known)):
        expected = " and ".join(known) if len(known) > 1 else f"{known[0]} alone"
        raise InputError("bad_line", "keys", expected=expected, got=", ".join(unknown))


def parse_texts(value: Any, key: str, limit: int) -> tuple[str, ...]:
    """The texts of a key that holds a list of strings."""
    if not isinstance(value, list):
        raise InputError("input_type", f"{key} of the line", expected="a list of strings", got=str(value)[:80])
    return tuple(check_text(text, None, limit) for text in value)


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


def _max_line_bytes(text_limit: int) -> int:
    """Bytes a line may have: a byte of text takes at most six in JSON, and a key and blanks stand around it."""
    return 6 * text_limit + 1024

"""Process JSON lines from stdin: one output line per input line, in order, written as soon as it is ready."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import orjson
import typer

from ..artifacts import strict_json
from ..artifacts.errors import InputError, OnnxMlBridgeError
from ..runtime.tokenizer import check_text
from .console import EXIT_FAILED, write_output
from .line_reader import Line, arriving_lines, stdin_reader

# The maximum number of lines in a batch. A batch consists of the lines that have already arrived: lines of a file are
# processed together, and a program that writes one line at a time gets each answer immediately.
_LINES_PER_RUN = 256
# Type variables for the parsed value of an input line and for the result that is computed from it
Entry = TypeVar("Entry")
Result = TypeVar("Result")


@dataclass(frozen=True)
class LineFormat(Generic[Entry]):
    """The format of an input line.

    `text_limit` is the maximum size of a text in bytes of UTF-8. `parse` receives the JSON value of a line and this
    limit, and returns the entry; it raises `InputError` for an invalid value.
    """

    text_limit: int
    parse: Callable[[Any, int], Entry]


@dataclass(frozen=True)
class LineError:
    """The error of an input line; `line` is its number."""

    code: str
    line: int
    message: str

    @classmethod
    def of(cls, error: OnnxMlBridgeError, line: int) -> LineError:
        """Convert an exception; its message loses the prefix with the index in the batch, since `line` replaces it."""
        message = str(error)
        if isinstance(error, InputError) and error.index is not None:
            message = message.removeprefix(f"text {error.index}: ")
        return cls(error.code, line, message.encode("utf-8", "backslashreplace").decode())


# A function that processes a batch of entries and returns, in their order, a result or an exception for each
Answer = Callable[[Sequence[Entry]], Sequence[Result | OnnxMlBridgeError]]
# The parsed entry of an input line and None, or None and the error of an invalid line
Parsed = tuple[Entry | None, InputError | None]
# The outcome for one input line: its parsed entry with the result, or its error
Answered = tuple[Entry, Result] | LineError


def print_answers(
    answer: Answer[Entry, Result],
    line_format: LineFormat[Entry],
    to_line: Callable[[Entry, Result], bytes],
    to_failure: Callable[[LineError], bytes],
    max_lines: int = _LINES_PER_RUN,
) -> None:
    """Read lines from stdin and write one output line for each; exit with `EXIT_FAILED` at the end if a line failed.

    :param answer: processes the entries of a batch.
    :param to_line: formats a result.
    :param to_failure: formats an error.
    :param max_lines: the maximum size of a batch.
    :raises OSError: if stdin cannot be read or stdout cannot be written.
    """
    failed = False
    for lines in arriving_lines(stdin_reader(), max_lines, max_bytes=max_line_bytes(line_format.text_limit)):
        written = []
        for answered in answer_lines(answer, lines, line_format):
            failed |= isinstance(answered, LineError)
            written.append(to_failure(answered) if isinstance(answered, LineError) else to_line(*answered))
        write_output(b"".join(written))
    if failed:
        raise typer.Exit(EXIT_FAILED)


def json_line(value: dict[str, Any]) -> bytes:
    """Return a JSON object and a newline; float32 values of numpy have their shortest decimal form."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)


def failure_line(error: LineError) -> bytes:
    """Return the JSON line that is written for an input line with an error."""
    return json_line({"error": {"code": error.code, "line": error.line, "message": error.message}})


def answer_lines(
    answer: Answer[Entry, Result], lines: Sequence[Line], line_format: LineFormat[Entry]
) -> list[Answered[Entry, Result]]:
    """Parse and process a batch of lines; returns the entry with its result, or the error, for every line in order."""
    return answer_entries(answer, [(line.number, parsed_line(line.raw, line_format)) for line in lines])


def answer_entries(
    answer: Answer[Entry, Result], parsed: Sequence[tuple[int, Parsed[Entry]]]
) -> list[Answered[Entry, Result]]:
    """Process a batch of parsed rows.

    :param parsed: the number of each row, and its entry or the error of a row that is invalid.
    :returns: the entry with its result, or the error, for every row in order.
    """
    entries: dict[int, Entry] = {}
    answered: dict[int, Answered[Entry, Result]] = {}
    for index, (number, (entry, error)) in enumerate(parsed):
        if error is not None:
            answered[index] = LineError.of(error, number)
        else:
            entries[index] = cast(Entry, entry)
    for (index, entry), result in zip(entries.items(), answer(list(entries.values())), strict=True):
        if isinstance(result, OnnxMlBridgeError):
            answered[index] = LineError.of(result, parsed[index][0])
        else:
            answered[index] = entry, result
    return [answered[index] for index in range(len(parsed))]


def parsed_line(raw: bytes | None, line_format: LineFormat[Any]) -> Parsed[Any]:
    """Parse an input line as `parse_line` does; returns the entry and None, or None and the error."""
    try:
        return parse_line(raw, line_format), None
    except InputError as error:
        return None, error


def parse_line(raw: bytes | None, line_format: LineFormat[Entry]) -> Entry:
    """Parse an input line: read its JSON value and convert the value with `line_format.parse`.

    :raises InputError: if the line is not valid JSON, has an invalid value, or a text exceeds the limit.
    """
    if raw is None:
        expected = f"at most {line_format.text_limit} bytes of text"
        raise InputError("input_too_large", "the line is too long", expected=expected)
    try:
        value = strict_json.parse_any(raw)
    except ValueError as error:
        raise InputError("bad_line", str(error)) from error
    return line_format.parse(value, line_format.text_limit)


def parse_text(value: Any, limit: int) -> str:
    """Return the text of a JSON value: a string, or an object with `text` as its only key."""
    if isinstance(value, dict):
        check_keys(value, "text")
        value = value.get("text", value)
    return check_text(value, None, limit)


def check_keys(value: Mapping[str, Any], *known: str) -> None:
    """Raise `InputError` if a JSON object has keys that are not in `known`."""
    if unknown := sorted(set(value) - set(known)):
        expected = " and ".join(known) if len(known) > 1 else f"{known[0]} alone"
        raise InputError("bad_line", "keys", expected=expected, actual=", ".join(unknown))


def parse_texts(value: Any, key: str, limit: int) -> tuple[str, ...]:
    """Check that a JSON value is a list of strings and return them; error messages call the list `key`."""
    if not isinstance(value, list):
        raise InputError("input_type", f"{key} of the line", expected="a list of strings", actual=str(value)[:80])
    return tuple(check_text(text, None, limit) for text in value)


def max_line_bytes(text_limit: int) -> int:
    """Return the maximum line length: JSON escapes need up to six bytes per byte of text, plus keys and whitespace."""
    return 6 * text_limit + 1024

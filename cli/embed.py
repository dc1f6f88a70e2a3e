"""`embed`: JSON lines in, JSON lines out, as they come."""

from __future__ import annotations

import io
import queue
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import orjson
import typer

from ..artifacts import strict_json
from ..artifacts.errors import InferenceError, InputError, OnnxMlBridgeError
from ..runtime.embedding import SentenceEmbedder
from ..runtime.opening import AUTO
from ..runtime.tokenizer import DEFAULT_TEXT_LIMIT, check_text
from .console import EXIT_FAILED, reported_errors

# A run takes the lines that have arrived, up to this many: a slow writer gets every answer at once, a file is batched.
_LINES_PER_RUN = 256


def embed_command(
    model: Annotated[Path, typer.Option(help="The artifact's folder.", metavar="DIR")],
    variant: Annotated[str, typer.Option(help="fp32, int8, or auto: by instruction set.")] = AUTO,
    prompt_name: Annotated[str | None, typer.Option(help="Prompt to put before every text.", metavar="NAME")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of one run.", min=1)] = None,
    text_limit: Annotated[int, typer.Option(help="Largest text in bytes of UTF-8.", min=1)] = DEFAULT_TEXT_LIMIT,
) -> None:
    """Embed JSON lines from stdin: {"text": ...} or a JSON string, one a line.

    Each line gives one line: {"embedding":[...],"truncated":false}, or {"error":{"code","line","message"}} for a line
    that cannot be embedded; the others go on and the exit status is 1 at the end.

    Example: echo '{"text": "Kofi signed the lease."}' | onnx-ml-bridge embed --model dist/all-minilm-l6-v2
    """
    with reported_errors():
        embedder = SentenceEmbedder.open(model, variant, threads=threads, text_limit=text_limit)
        # An unknown prompt, a missing library and a graph that does not load are said once, before anything is read
        embedder.embed([], prompt_name)
        embedder.load()
        failed = False
        for lines in arriving_lines(_stdin(), _LINES_PER_RUN, longest=_longest_line(text_limit)):
            answers = answer_lines(embedder, lines, prompt_name, text_limit)
            failed |= any("error" in answer for answer in answers)
            options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
            sys.stdout.buffer.write(b"".join(orjson.dumps(answer, option=options) for answer in answers))
            sys.stdout.buffer.flush()
        if failed:
            raise typer.Exit(EXIT_FAILED)


@dataclass(frozen=True)
class Line:
    """A line of input without its newline; numbers start at 1. `raw` is None for a line too long to hold any text."""

    number: int
    raw: bytes | None


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


def answer_lines(
    embedder: SentenceEmbedder, lines: list[Line], prompt_name: str | None, text_limit: int
) -> list[dict[str, Any]]:
    """One answer per line, in order; a bad line costs no other line its answer."""
    texts: dict[int, str] = {}
    answers: dict[int, dict[str, Any]] = {}
    for place, line in enumerate(lines):
        try:
            texts[place] = parse_line(line.raw, text_limit)
        except InputError as error:
            answers[place] = _error(error, line.number)
    answers |= _embed(embedder, texts, lines, prompt_name)
    return [answers[place] for place in range(len(lines))]


def parse_line(raw: bytes | None, text_limit: int) -> str:
    """The text of a line: a JSON string, or an object with the one key `text`."""
    if raw is None:
        raise InputError("input_too_large", "too large for any text", expected=f"at most {text_limit} bytes of text")
    try:
        value = strict_json.parse_any(raw)
    except ValueError as error:
        raise InputError("bad_line", str(error)) from error
    if isinstance(value, dict):
        if unknown := sorted(set(value) - {"text"}):
            raise InputError("bad_line", "keys", expected="text alone", got=", ".join(unknown))
        value = value.get("text", value)
    return check_text(value, None, text_limit)


def _embed(
    embedder: SentenceEmbedder, texts: dict[int, str], lines: list[Line], prompt_name: str | None
) -> dict[int, dict[str, Any]]:
    """Answers by place; where the run fails, every text for itself, so that one does not cost the others theirs."""
    try:
        result = embedder.embed(list(texts.values()), prompt_name)
    except InferenceError as error:
        if len(texts) == 1:
            return {place: _error(error, lines[place].number) for place in texts}
        return {place: answer for place, text in texts.items()
                for answer in _embed(embedder, {place: text}, lines, prompt_name).values()}  # fmt: skip
    found = zip(texts, result.vectors, result.truncated, strict=True)
    return {place: {"embedding": vector, "truncated": bool(cut)} for place, vector, cut in found}


def _error(error: OnnxMlBridgeError, line: int) -> dict[str, Any]:
    message = str(error).encode("utf-8", "backslashreplace").decode()
    return {"error": {"code": error.code, "line": line, "message": message}}

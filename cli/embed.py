"""`embed`: JSON lines in, JSON lines out, as they come."""

from __future__ import annotations

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
from ..artifacts.errors import ArtifactError, InputError, OnnxMlBridgeError
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
        embedder.embed([], prompt_name)  # an unknown prompt is said before anything is read
        failed = False
        for lines in arriving_lines(sys.stdin.buffer, _LINES_PER_RUN):
            answers = answer_lines(embedder, lines, prompt_name, text_limit)
            failed |= any("error" in answer for answer in answers)
            options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
            sys.stdout.buffer.write(b"".join(orjson.dumps(answer, option=options) for answer in answers))
            sys.stdout.buffer.flush()
        if failed:
            raise typer.Exit(EXIT_FAILED)


@dataclass(frozen=True)
class Line:
    """A line of input without its newline; numbers start at 1."""

    number: int
    raw: bytes


def arriving_lines(stream: BinaryIO, most: int) -> Iterator[list[Line]]:
    """Yield lines as they arrive: at least one, and all that are there, up to `most`."""
    waiting: queue.Queue[Line | None] = queue.Queue(maxsize=4 * most)

    def read() -> None:
        for number, raw in enumerate(stream, start=1):
            waiting.put(Line(number, raw.removesuffix(b"\n")))
        waiting.put(None)

    threading.Thread(target=read, daemon=True).start()
    while (first := waiting.get()) is not None:
        lines = [first]
        while len(lines) < most and not waiting.empty():
            following = waiting.get()
            if following is None:
                yield lines
                return
            lines.append(following)
        yield lines


def answer_lines(
    embedder: SentenceEmbedder, lines: list[Line], prompt_name: str | None, text_limit: int
) -> list[dict[str, Any]]:
    """One answer per line, in order; a bad line costs no other line its answer."""
    texts: dict[int, str] = {}
    answers: dict[int, dict[str, Any]] = {}
    for place, line in enumerate(lines):
        try:
            texts[place] = parse_line(line.raw, place, text_limit)
        except OnnxMlBridgeError as error:
            answers[place] = _error(error, line.number)
    try:
        result = embedder.embed(list(texts.values()), prompt_name)
        for place, vector, cut in zip(texts, result.vectors, result.truncated, strict=True):
            answers[place] = {"embedding": vector, "truncated": bool(cut)}
    except OnnxMlBridgeError as error:
        answers |= {place: _error(error, lines[place].number) for place in texts}
    return [answers[place] for place in range(len(lines))]


def parse_line(raw: bytes, index: int, text_limit: int) -> str:
    """The text of a line: a JSON string, or an object with the one key `text`."""
    try:
        value = strict_json.parse(raw, "the line")
    except ArtifactError as error:
        raise InputError("bad_line", str(error), index=index) from error
    if isinstance(value, dict):
        if unknown := sorted(set(value) - {"text"}):
            raise InputError("bad_line", "keys", index=index, expected="text alone", got=", ".join(unknown))
        value = value.get("text", value)
    return check_text(value, index, text_limit)


def _error(error: OnnxMlBridgeError, line: int) -> dict[str, Any]:
    return {"error": {"code": error.code, "line": line, "message": str(error)}}

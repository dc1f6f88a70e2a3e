"""`embed`: JSON lines in, JSON lines out, as they come."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ..artifacts.errors import OnnxMlBridgeError
from ..runtime.loading import AUTO
from ..runtime.sentence_embedding import SentenceEmbedder
from ..runtime.tokenizer import DEFAULT_TEXT_LIMIT
from .console import reported_errors
from .jsonl import Input, Rules, each_answered, failure_line, json_line, print_answers


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
        answers = EmbeddingAnswers(
            SentenceEmbedder.open(model, variant, threads=threads, text_limit=text_limit), prompt_name
        )
        # An unknown prompt, a missing library and a graph that does not load are said once, before anything is read
        answers.embedder.embed([], prompt_name)
        answers.embedder.load()
        print_answers(answers, Rules(text_limit), lambda _, answer: json_line(answer), failure_line)


class EmbeddingAnswers:
    """Vectors of the inputs of lines, as they are printed."""

    def __init__(self, embedder: SentenceEmbedder, prompt_name: str | None = None) -> None:
        """Take the model and the prompt of every text."""
        self.embedder = embedder
        self._prompt_name = prompt_name

    def __call__(self, inputs: Sequence[Input]) -> list[dict[str, Any] | OnnxMlBridgeError]:
        """The answer to every input, or its error."""
        return each_answered(self._embed, inputs)

    def _embed(self, inputs: Sequence[Input]) -> list[dict[str, Any]]:
        result = self.embedder.embed([entry.text for entry in inputs], self._prompt_name)
        found = zip(result.vectors, result.truncated, strict=True)
        return [{"embedding": vector, "truncated": bool(cut)} for vector, cut in found]

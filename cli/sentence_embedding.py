"""The family sentence_embedding on the command line: its options in models.toml, and the subcommand `embed`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from ..artifacts.errors import OnnxMlBridgeError
from ..runtime.loading import AUTO
from ..runtime.sentence_embedding import SentenceEmbedder
from ..runtime.tokenizer import DEFAULT_TEXT_LIMIT
from .arguments import ModelOption, TextLimitOption, ThreadsOption, VariantOption
from .console import reported_errors
from .jsonl import LineFormat, each_answered, failure_line, json_line, parse_text, print_answers
from .options import ALLOW_PICKLE, option


@dataclass(frozen=True)
class Options:
    """The options of a sentence embedding model in models.toml."""

    allow_pickle: bool = option(False, ALLOW_PICKLE)


def command(
    model: ModelOption,
    variant: VariantOption = AUTO,
    prompt_name: Annotated[
        str | None, typer.Option(help="Name of the prompt that is prepended to every text.", metavar="NAME")
    ] = None,
    threads: ThreadsOption = None,
    text_limit: TextLimitOption = DEFAULT_TEXT_LIMIT,
) -> None:
    """Embed JSON lines from stdin: {"text": ...} or a JSON string, one per line.

    The output has one line per input line: {"embedding":[...],"truncated":false}, or
    {"error":{"code","line","message"}} if the line is invalid. After an error the other lines are still processed, and
    the exit status is 1.

    Example: echo '{"text": "Kofi signed the lease."}' | onnx-ml-bridge embed --model dist/all-minilm-l6-v2
    """
    with reported_errors():
        embedder = SentenceEmbedder.open(model, variant, threads=threads, text_limit=text_limit)
        # Report an unknown prompt, a missing library and an invalid graph once, before any input is read
        embedder.embed([], prompt_name)
        embedder.load()
        answers = EmbeddingAnswers(embedder, prompt_name)
        print_answers(answers, LineFormat(text_limit, parse_text), lambda _, answer: json_line(answer), failure_line)


class EmbeddingAnswers:
    """Embeds the texts of a batch of lines."""

    def __init__(self, embedder: SentenceEmbedder, prompt_name: str | None = None) -> None:
        """Store the model and the prompt that all lines share."""
        self._embedder = embedder
        self._prompt_name = prompt_name

    def __call__(self, texts: Sequence[str]) -> list[dict[str, Any] | OnnxMlBridgeError]:
        """Return, for every text, the JSON object with its embedding, or its error."""
        return each_answered(self._embed, texts)

    def _embed(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        result = self._embedder.embed(texts, self._prompt_name)
        rows = zip(result.vectors, result.truncated, strict=True)
        return [{"embedding": vector, "truncated": bool(truncated)} for vector, truncated in rows]

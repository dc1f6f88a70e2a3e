"""The family sentence_embedding on the command line: its options in models.toml, and the subcommand `embed`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from ..artifacts.errors import OnnxMlBridgeError
from ..runtime.handles.embedder import Embedder, Embedding, EmbedOptions
from ..runtime.options import AUTO, DEFAULT_TEXT_LIMIT, BridgeOptions, Model
from .arguments import ModelOption, TextLimitOption, ThreadsOption, VariantOption
from .console import reported_errors
from .jsonl import LineFormat, failure_line, json_line, parse_text, print_answers
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
        embedder = Embedder.open(Model(model, variant=variant), BridgeOptions(threads=threads, text_limit=text_limit))
        options = EmbedOptions(prompt_name=prompt_name)
        # Report an unknown prompt, a missing library and an invalid graph once, before any input is read
        embedder.embed([], options)
        embedder.warm_up()
        answers = EmbeddingAnswers(embedder, options)
        print_answers(answers, LineFormat(text_limit, parse_text), lambda _, answer: json_line(answer), failure_line)


class EmbeddingAnswers:
    """Embeds the texts of a batch of lines."""

    def __init__(self, embedder: Embedder, options: EmbedOptions | None = None) -> None:
        """Store the model and the options that all lines share."""
        self._embedder = embedder
        self._options = options

    def __call__(self, texts: Sequence[str]) -> list[dict[str, Any] | OnnxMlBridgeError]:
        """Return, for every text, the JSON object with its embedding, or its error."""
        return [
            {"embedding": answer.vector, "truncated": answer.truncated} if isinstance(answer, Embedding) else answer
            for answer in self._embedder.embed_each(texts, self._options)
        ]

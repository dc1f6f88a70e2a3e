"""The toy family on the command line: options of models.toml, and `score`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from onnx_ml_bridge.artifacts.errors import OnnxMlBridgeError
from onnx_ml_bridge.cli.arguments import ModelOption, VariantOption
from onnx_ml_bridge.cli.console import reported_errors
from onnx_ml_bridge.cli.jsonl import LineFormat, failure_line, json_line, parse_text, print_answers
from onnx_ml_bridge.cli.options import option
from onnx_ml_bridge.runtime.loading import open_artifact
from onnx_ml_bridge.runtime.options import BridgeOptions

from ..artifacts.families.readability import READABILITY
from ..runtime.readability import open_model


@dataclass(frozen=True)
class Options:
    best: float = option(1.0, "The score of the easiest text.")


def command(model: ModelOption, variant: VariantOption = "auto") -> None:
    """Score JSON lines from stdin."""
    with reported_errors():
        scorer = open_model(open_artifact(model, variant, families=[READABILITY]), BridgeOptions())

        def answer(texts: Sequence[str]) -> list[dict[str, Any] | OnnxMlBridgeError]:
            return [{"score": score} for score in scorer.score(texts)]

        print_answers(answer, LineFormat(1000, parse_text), lambda _, result: json_line(result), failure_line)

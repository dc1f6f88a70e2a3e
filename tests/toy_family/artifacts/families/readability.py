"""The declaration of the toy family: one score per text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from onnx_ml_bridge.artifacts.family import Family, Interface, Metric
from onnx_ml_bridge.artifacts.manifest_sections import Section, TokenizerSpec


@dataclass(frozen=True)
class ReadabilitySpec(Section):
    """The section of the manifest; `best` is the score of the easiest text."""

    best: float


@dataclass(frozen=True)
class ReadabilityCase:
    """A golden case: a text and the original's score."""

    input: str
    score: float

    def to_record(self) -> dict[str, Any]:
        return {"input": self.input, "expected": {"score": self.score}}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> ReadabilityCase:
        return cls(record["input"], float(record["expected"]["score"]))


READABILITY = Family(
    name="readability",
    task="readability",
    engine="transformers",
    revision=1,
    title="Readability scores",
    pipeline_tag="text-classification",
    sections={"readability": ReadabilitySpec, "tokenizer": TokenizerSpec},
    schema={
        "properties": {
            "readability": {
                "type": "object",
                "additionalProperties": False,
                "required": ["best"],
                "properties": {"best": {"type": "number"}},
            },
            "tokenizer": {"$ref": "#/$defs/tokenizer"},
        },
        "required": ["readability", "tokenizer"],
    },
    roles={
        "scorer": Interface(
            inputs={"input_ids": ("int64", 2), "attention_mask": ("int64", 2)},
            outputs={"score": ("float32", 1)},
        )
    },
    case=ReadabilityCase,
    metrics=(
        Metric("max_abs", "Exactness", "largest difference of a score", "max abs", ".1e", is_upper_bound=True),
        Metric("correlation", "Order", "correlation with the original", "correlation", ".4f"),
    ),
    gates={"fp32": {"max_abs": 1e-5}, "int8": {"correlation": 0.98}},
    facts=lambda manifest: {"best score": f"{manifest.section(ReadabilitySpec).best:g}"},
    usage=lambda manifest: "# The toy family has no call of its own",
    command="score",
    builders=("tokenizers", "torch"),
    package="toy_family",
)

"""The task `ner`, which two families share: its golden cases, metrics and aggregation strategies."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .family import Metric

NER = "ner"
# Aggregation strategies of token classifiers; FORMAT.md defines them
STRATEGIES = ("none", "simple", "first", "average", "max")
METRICS = (
    Metric("differing", "Entities", "documents with different entities", "differing", ".0f", is_upper_bound=True),
    Metric("entity_f1", "Entities", "F1 of the entities", "entity F1"),
    Metric("score_max_abs", "Entities", "largest difference of a score", "score max abs", ".1e", is_upper_bound=True),
    Metric(
        "token_mismatches", "Tokens", "documents with a different number of tokens or truncation", is_upper_bound=True
    ),
)
USAGE = """from onnx_ml_bridge import OnnxMlBridge

bridge = OnnxMlBridge.open("path/to/this/folder")
for entity in bridge.extract_entities("Any text."):
    print(entity.text, entity.label, entity.start, entity.end)"""


@dataclass(frozen=True)
class ExpectedEntity:
    """An entity of the original; `start` and `end` are character offsets, `score` is None if the engine has none."""

    start: int
    end: int
    label: str
    score: float | None


@dataclass(frozen=True)
class EntityCase:
    """A golden case: a text, settings (None where one does not apply), and the entities of the original.

    `tokens` is the number of tokens read. `truncated` is true if the end of the text was not read.
    """

    input: str
    aggregation_strategy: str | None
    stride: int | None
    sentence_starts: tuple[int, ...] | None
    entities: tuple[ExpectedEntity, ...]
    tokens: int
    truncated: bool

    def to_record(self) -> dict[str, Any]:
        """Return the case as a JSON object, which is one line of golden.jsonl."""
        starts = None if self.sentence_starts is None else list(self.sentence_starts)
        settings = {"aggregation_strategy": self.aggregation_strategy, "sentence_starts": starts, "stride": self.stride}
        expected = {
            "entities": [asdict(entity) for entity in self.entities],
            "tokens": self.tokens,
            "truncated": self.truncated,
        }
        return {"input": self.input, "settings": settings, "expected": expected}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> EntityCase:
        """Parse a record of golden.jsonl.

        :raises ValueError, KeyError, TypeError: for a record with other keys or types.
        """
        expected, settings = record["expected"], record["settings"]
        starts = settings["sentence_starts"]
        case = cls(
            record["input"],
            settings["aggregation_strategy"],
            settings["stride"],
            None if starts is None else tuple(starts),
            tuple(ExpectedEntity(**entity) for entity in expected["entities"]),
            expected["tokens"],
            expected["truncated"],
        )
        if not case._is_typed() or case.to_record() != record:
            raise ValueError("unknown keys or values of the wrong type")
        return case

    def _is_typed(self) -> bool:
        whole = [self.tokens, *(self.sentence_starts or ()), *([] if self.stride is None else [self.stride])]
        whole += [index for entity in self.entities for index in (entity.start, entity.end)]
        strings = [self.input, *([] if self.aggregation_strategy is None else [self.aggregation_strategy])]
        strings += [entity.label for entity in self.entities]
        scores = [entity.score for entity in self.entities if entity.score is not None]
        return (
            all(type(value) is int and value >= 0 for value in whole)
            and all(type(value) is str for value in strings)
            and all(type(value) in (int, float) for value in scores)
            and type(self.truncated) is bool
        )

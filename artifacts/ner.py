"""What both families of named entities share: the task, its golden cases and its metrics."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .family import Metric

NER = "ner"
# How the tokens of a token classifier become entities; FORMAT.md defines each
STRATEGIES = ("none", "simple", "first", "average", "max")
METRICS = (
    Metric("differing", "Entities", "documents with other entities", "differing", ".0f", is_upper_bound=True),
    Metric("entity_f1", "Entities", "F1 of the entities", "entity F1"),
    Metric("score_max_abs", "Entities", "largest difference of a score", "score max abs", ".1e", is_upper_bound=True),
    Metric("token_mismatches", "Tokens", "documents with another number of tokens or another cut", is_upper_bound=True),
)
USAGE = """bridge = OnnxMlBridge.open(ner="path/to/this/folder")
for entity in bridge.extract_entities("Any text."):
    print(entity.text, entity.label, entity.start, entity.end)"""


@dataclass(frozen=True)
class ExpectedEntity:
    """An entity of the original: places in characters; `score` is None where the engine has none."""

    start: int
    end: int
    label: str
    score: float | None


@dataclass(frozen=True)
class EntityCase:
    """One named entity case: a text, the settings of the call, and the original's answer."""

    input: str
    aggregation_strategy: str | None
    stride: int | None
    sentence_starts: tuple[int, ...] | None
    entities: tuple[ExpectedEntity, ...]
    tokens: int
    truncated: bool

    def to_record(self) -> dict[str, Any]:
        """The record of golden.jsonl."""
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
        """Read a record back; `ValueError`, `KeyError` or `TypeError` for one of another form."""
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
            raise ValueError("unknown keys, or values of another kind")
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

"""Golden cases: inputs with the original model's outputs, sealed with the artifact and replayed by `verify`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from . import strict_json
from .errors import ArtifactError
from .manifest_sections import GenerationDefaults


@dataclass(frozen=True)
class ExpectedEmbedding:
    """The original's answer: a float32 vector `[dim]`, how many tokens it was made from, whether the text was cut."""

    vector: tuple[float, ...]
    tokens: int
    truncated: bool


@dataclass(frozen=True)
class EmbeddingCase:
    """One sentence embedding case; `group` is `plain` or `hard`, which decides the threshold it is held to."""

    input: str
    prompt_name: str | None
    group: str
    expected: ExpectedEmbedding

    def to_record(self) -> dict[str, Any]:
        """The record of golden.jsonl."""
        expected = {**asdict(self.expected), "vector": list(self.expected.vector)}
        return {
            "input": self.input,
            "settings": {"prompt_name": self.prompt_name},
            "group": self.group,
            "expected": expected,
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> EmbeddingCase:
        """Read a record back; `ValueError` or `KeyError` for one of another form."""
        expected, settings = record["expected"], record["settings"]
        answer = ExpectedEmbedding(tuple(map(float, expected["vector"])), expected["tokens"], expected["truncated"])
        case = cls(record["input"], settings["prompt_name"], record["group"], answer)
        kinds = (type(case.input), type(answer.tokens), type(answer.truncated), type(case.prompt_name))
        is_typed = kinds in ((str, int, bool, str), (str, int, bool, type(None)))
        if not is_typed or case.to_record() != record or case.group not in ("plain", "hard"):
            raise ValueError("unknown keys, or values of another kind")
        return case


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


@dataclass(frozen=True)
class ExpectedSummary:
    """A summary: its text, its token ids with the decoder's start token and without padding."""

    text: str
    token_ids: tuple[int, ...]


@dataclass(frozen=True)
class SummaryCase:
    """One summarization case: messages, the settings of the call, the original's summary, whether the input was cut.

    `sealed` has the summaries of the variants that are held to their own: those that need not equal the original's.
    """

    input: tuple[str, ...]
    settings: GenerationDefaults
    expected: ExpectedSummary
    truncated: bool
    sealed: dict[str, ExpectedSummary]

    def to_record(self) -> dict[str, Any]:
        """The record of golden.jsonl."""
        expected = {**_summary_record(self.expected), "truncated": self.truncated}
        sealed = {name: _summary_record(summary) for name, summary in self.sealed.items()}
        return {"input": list(self.input), "settings": asdict(self.settings), "expected": expected, "sealed": sealed}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> SummaryCase:
        """Read a record back; `ValueError`, `KeyError` or `TypeError` for one of another form."""
        expected = dict(record["expected"])
        truncated = expected.pop("truncated")
        case = cls(
            tuple(record["input"]),
            GenerationDefaults(**record["settings"]),
            _summary(expected),
            truncated,
            {name: _summary(summary) for name, summary in record["sealed"].items()},
        )
        if not case._is_typed() or case.to_record() != record:
            raise ValueError("unknown keys, or values of another kind")
        return case

    def _is_typed(self) -> bool:
        summaries = [self.expected, *self.sealed.values()]
        whole = [self.settings.num_beams, self.settings.min_length, self.settings.max_length]
        whole += [token for summary in summaries for token in summary.token_ids]
        return (
            all(type(value) is int and value >= 0 for value in whole)
            and all(type(value) is str for value in (*self.input, *(summary.text for summary in summaries)))
            and type(self.settings.length_penalty) in (int, float)
            and type(self.truncated) is bool
        )


def _summary_record(summary: ExpectedSummary) -> dict[str, Any]:
    return {"text": summary.text, "token_ids": list(summary.token_ids)}


def _summary(record: dict[str, Any]) -> ExpectedSummary:
    return ExpectedSummary(**{**record, "token_ids": tuple(record["token_ids"])})


class Case(Protocol):
    """What cases of every task can do."""

    def to_record(self) -> dict[str, Any]:
        """The record of golden.jsonl."""

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Any:
        """Read a record back."""


AnyCase = TypeVar("AnyCase", bound=Case)


def write_golden(cases: Iterable[Case], path: Path) -> None:
    """Write the cases as canonical JSON lines."""
    path.write_bytes(b"".join(strict_json.canonical_line(case.to_record()) for case in cases))


def read_golden(path: Path, kind: type[AnyCase]) -> list[AnyCase]:
    """Read the cases of one kind from golden.jsonl, or raise `ArtifactError` with the code `golden`."""
    try:
        lines = path.read_bytes().removesuffix(b"\n").split(b"\n")
        return [kind.from_record(strict_json.parse(line, path.name)) for line in lines]
    except (ArtifactError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError("golden", f"{path.name} cannot be read: {error!r}") from error

"""Golden cases: inputs with the original model's outputs, sealed with the artifact and replayed by `verify`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import strict_json
from .errors import ArtifactError


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
        return {"input": self.input, "settings": {"prompt_name": self.prompt_name}, "group": self.group,
                "expected": expected}  # fmt: skip

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


def write_golden(cases: Iterable[EmbeddingCase], path: Path) -> None:
    """Write the cases as canonical JSON lines."""
    path.write_bytes(b"".join(strict_json.canonical_line(case.to_record()) for case in cases))


def read_golden(path: Path) -> list[EmbeddingCase]:
    """Read golden.jsonl, or raise `ArtifactError` with the code `golden`."""
    try:
        lines = path.read_bytes().removesuffix(b"\n").split(b"\n")
        return [EmbeddingCase.from_record(strict_json.parse(line, path.name)) for line in lines]
    except (ArtifactError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError("golden", f"{path.name} cannot be read: {error!r}") from error

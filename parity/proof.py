"""The result of the parity stage: every variant compared with the original, and its evidence on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast

from ..artifacts import strict_json
from ..artifacts.constants import GOLDEN, PARITY
from ..artifacts.errors import BuildError
from ..artifacts.family import Family, Metric, gate_misses
from ..artifacts.golden import Case, write_golden
from ..artifacts.manifest import Machine, Manifest
from ..artifacts.staging import Staged


class Compared(Protocol):
    """One variant against the original."""

    @property
    def metrics(self) -> dict[str, float]:
        """Its figures by metric."""


class Parity(Protocol):
    """What the parity stage of any family measured."""

    @property
    def inputs(self) -> Sequence[Any]:
        """The inputs that the original and every variant answered."""

    @property
    def comparisons(self) -> Mapping[str, Compared]:
        """Comparisons by variant."""

    @property
    def failures(self) -> Mapping[str, list[str]]:
        """What falls short of the gate, in words, by variant."""


AnyParity = TypeVar("AnyParity", bound=Parity)


@dataclass(frozen=True)
class Proof(Generic[AnyParity]):
    """What the parity stage measured.

    `speeds` are texts, words or summaries per second by variant, and of `original`; a name may be missing.
    """

    parity: AnyParity
    speeds: dict[str, float]


class FamilyParity(Protocol):
    """The module `parity.NAME` of a family."""

    def prove(self, staged: Staged, folder: Path) -> Proof[Any]:
        """Compare every variant of the settings with the original in `folder`, loaded as its users load it."""

    def evidence(self, parity: Any) -> dict[str, Any]:
        """The records of parity.json that this family has beside machine and versions."""

    def golden_cases(self, parity: Any) -> list[Case]:
        """A selection of the inputs with the original's answers."""

    def write_report(self, proof: Proof[Any], manifest: Manifest, path: Path) -> None:
        """Write the HTML report, whole or not at all."""


def parity_of(family: Family) -> FamilyParity:
    """The parity module of a family, imported now."""
    return cast(FamilyParity, family.module("parity"))


def write_evidence(family: Family, parity: Parity, machine: Machine, versions: Mapping[str, str], folder: Path) -> int:
    """Write parity.json and golden.jsonl into the staging folder; returns the number of golden cases."""
    module = parity_of(family)
    evidence = module.evidence(parity) | {"machine": asdict(machine), "versions": dict(versions)}
    (folder / PARITY).write_bytes(strict_json.canonical(evidence))
    cases = module.golden_cases(parity)
    write_golden(cases, folder / GOLDEN)
    return len(cases)


def check_gate(metrics: Sequence[Metric], figures: Mapping[str, float], gate: Mapping[str, float]) -> list[str]:
    """What falls short of the gate, in words; empty where everything holds.

    :raises BuildError: with the code `config` when the gate names a figure that was not measured.
    """
    if unknown := sorted(set(gate) - set(figures)):
        raise BuildError("config", f"the gate names {', '.join(unknown)}", expected=", ".join(sorted(figures)))
    return gate_misses(metrics, figures, gate)

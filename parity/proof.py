"""The result of the parity stage, the interface of its modules, and the files that it writes."""

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
    """The comparison of one variant with the original."""

    @property
    def metrics(self) -> dict[str, float]:
        """The measured values by metric."""


class Parity(Protocol):
    """The protocol of the parity results that all families share."""

    @property
    def inputs(self) -> Sequence[Any]:
        """The inputs on which the variants are compared with the original."""

    @property
    def comparisons(self) -> Mapping[str, Compared]:
        """The comparison with the original, by variant."""

    @property
    def failures(self) -> Mapping[str, list[str]]:
        """By variant, one message per threshold of the gate that the variant missed."""


AnyParity = TypeVar("AnyParity", bound=Parity)


@dataclass(frozen=True)
class Proof(Generic[AnyParity]):
    """Parity results and speeds.

    `speeds` has texts, words or summaries per second by variant and for `original`; entries can be missing.
    """

    parity: AnyParity
    speeds: dict[str, float]


class FamilyParity(Protocol):
    """The interface of the module `parity.NAME` of a family."""

    def prove(self, staged: Staged, folder: Path) -> Proof[Any]:
        """Compare every variant that the build settings name with the original model in `folder`."""

    def evidence(self, parity: Any) -> dict[str, Any]:
        """Return the content of parity.json without the machine and the versions."""

    def golden_cases(self, parity: Any) -> list[Case]:
        """Return a selection of the inputs with the references as golden cases."""

    def write_report(self, proof: Proof[Any], manifest: Manifest, path: Path) -> None:
        """Write the HTML report to `path` atomically."""


def parity_of(family: Family) -> FamilyParity:
    """Import and return the parity module of a family."""
    return cast(FamilyParity, family.module("parity"))


def write_evidence(family: Family, parity: Parity, machine: Machine, versions: Mapping[str, str], folder: Path) -> int:
    """Write parity.json and golden.jsonl into the staging folder, and return the number of golden cases."""
    module = parity_of(family)
    evidence = module.evidence(parity) | {"machine": asdict(machine), "versions": dict(versions)}
    (folder / PARITY).write_bytes(strict_json.canonical(evidence))
    cases = module.golden_cases(parity)
    write_golden(cases, folder / GOLDEN)
    return len(cases)


def check_gate(metrics: Sequence[Metric], figures: Mapping[str, float], gate: Mapping[str, float]) -> list[str]:
    """Compare the measured values with the thresholds of a gate, as `gate_misses` does.

    :returns: one message per missed threshold.
    :raises BuildError: with the code `config` if the gate has a metric that was not measured.
    """
    if unknown := sorted(set(gate) - set(figures)):
        raise BuildError(
            "config",
            f"the gate has metrics that were not measured: {', '.join(unknown)}",
            expected=", ".join(sorted(figures)),
        )
    return gate_misses(metrics, figures, gate)

"""What the stages of a build hand over: the settings of one model, and its staging folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .errors import ArtifactError
from .family import Family
from .manifest import AnySection, Variant
from .manifest_sections import Section


@dataclass(frozen=True)
class BuildSettings:
    """What to build, resolved: nothing is left to a default.

    :param variants: the variants to build; `gates` are their thresholds by metric.
    :param calibration: a file of calibration texts, None for the package's own.
    :param options: the options of the family in models.toml, an `Options` of its module in `cli`.
    """

    family: Family
    name: str
    version: str
    variants: tuple[str, ...]
    gates: Mapping[str, Mapping[str, float]]
    calibration: Path | None
    options: Any

    def gate(self, variant: str) -> dict[str, float]:
        """The thresholds of a variant; empty for one that is built only for another to be made from it."""
        return dict(self.gates.get(variant, {}))


@dataclass(frozen=True)
class Staged:
    """A model in its staging folder: the graphs of every variant that exists so far, and its sections of the manifest.

    `networks` are graphs in memory that the quantize stage starts from, for families that do not quantize a file.
    """

    folder: Path
    settings: BuildSettings
    sections: Mapping[str, Section]
    variants: Mapping[str, Variant]
    networks: Any = None

    def section(self, kind: type[AnySection]) -> AnySection:
        """The section of that type."""
        for section in self.sections.values():
            if isinstance(section, kind):
                return section
        raise ArtifactError("schema", f"{self.settings.name} has no section of the kind {kind.__name__}")

    def with_variant(self, name: str, variant: Variant) -> Staged:
        """The same with one more variant, or with another in its stead."""
        return replace(self, variants={**self.variants, name: variant})

"""The data that the stages of a build pass on: the settings of one model, and its staging folder."""

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
    """The resolved settings of one build.

    :param variants: the variants to build.
    :param gates: the thresholds by variant and metric.
    :param calibration: a file with one calibration text per line; None for the texts of the package.
    :param options: the options of models.toml, an instance of `cli.NAME.Options`.
    """

    family: Family
    name: str
    version: str
    variants: tuple[str, ...]
    gates: Mapping[str, Mapping[str, float]]
    calibration: Path | None
    options: Any

    def gate(self, variant: str) -> dict[str, float]:
        """Return the thresholds of a variant by metric; empty for a variant that is only an intermediate result."""
        return dict(self.gates.get(variant, {}))


@dataclass(frozen=True)
class Staged:
    """A model in its staging folder: the variants built so far, and the sections of the manifest.

    `networks` has graphs in memory, for families whose quantize stage does not start from a file.
    """

    folder: Path
    settings: BuildSettings
    sections: Mapping[str, Section]
    variants: Mapping[str, Variant]
    networks: Any = None

    def section(self, kind: type[AnySection]) -> AnySection:
        """Return the manifest section that is an instance of the dataclass `kind`.

        :raises ArtifactError: with the code `schema` if there is none.
        """
        for section in self.sections.values():
            if isinstance(section, kind):
                return section
        raise ArtifactError("schema", f"{self.settings.name} has no section of the type {kind.__name__}")

    def with_variant(self, name: str, variant: Variant) -> Staged:
        """Return a copy of the staged model in which a variant was added or replaced."""
        return replace(self, variants={**self.variants, name: variant})

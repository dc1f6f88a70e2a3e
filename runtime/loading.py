"""From a path to a checked variant: everything FORMAT.md requires of `open`, before any session is created."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast

from ..artifacts.checks import Artifact, check_hashes, check_variant, read_artifact
from ..artifacts.errors import ArtifactError
from ..artifacts.families import FAMILIES
from ..artifacts.family import Family
from ..artifacts.manifest_sections import TokenizerSpec
from . import cpu
from .tokenizer import DEFAULT_TEXT_LIMIT, TextTokenizer

AUTO = "auto"
# The hint of an answer that leaves its gate
OTHER_RESULTS = "This CPU or this ONNX Runtime computes differently from the builder's; do not use the variant."
# What turns texts into a graph's inputs: a tokenizer, or a spaCy pipeline's rules and tables
Preprocessor = TypeVar("Preprocessor")
Figures = dict[str, float | None]


@dataclass(frozen=True)
class OpenArtifact(Generic[Preprocessor]):
    """A checked artifact, the variant chosen from it, and the preprocessor that all variants share."""

    artifact: Artifact
    variant: str
    preprocessor: Preprocessor


class FamilyRuntime(Protocol):
    """The module `runtime.NAME` of a family."""

    def load_preprocessor(self, artifact: Artifact) -> Any:
        """Load the preprocessor, or raise `ArtifactError` with the code `tokenizer`."""

    def open_model(self, opened: OpenArtifact[Any], *, threads: int | None = None, text_limit: int = ...) -> Any:
        """Wrap the opened variant; no graph is loaded yet."""

    def replay(self, opened: OpenArtifact[Any], cases: Sequence[Any], threads: int) -> Figures:
        """Replay golden cases and return the figures reached, or raise `ArtifactError` with the code `golden`."""


def runtime_of(family: Family) -> FamilyRuntime:
    """The runtime module of a family, imported now."""
    return cast(FamilyRuntime, family.module("runtime"))


def open_artifact(
    root: str | Path, variant: str = AUTO, *, task: str | None = None, families: Iterable[Family] = FAMILIES
) -> OpenArtifact[Any]:
    """Check the artifact and choose a variant.

    :param task: the task that the artifact must be for; None accepts any.
    :param families: the families that are known here.
    :raises ArtifactError: with the code of the first check that fails.
    """
    artifact = read_artifact(root, families)
    if task is not None and artifact.family.task != task:
        raise ArtifactError("variant", f"{root} is for another task", expected=task, got=artifact.family.task)
    chosen = choose_variant(artifact, variant)
    check_hashes(artifact, artifact.manifest.preprocessor_files())
    if chosen in artifact.manifest.variants:
        check_variant(artifact, chosen)
    preprocessor = runtime_of(artifact.family).load_preprocessor(artifact)
    artifact.variant(chosen)  # last, as FORMAT.md orders the checks
    return OpenArtifact(artifact, chosen, preprocessor)


def open_model(
    root: str | Path,
    variant: str = AUTO,
    *,
    task: str,
    threads: int | None = None,
    text_limit: int = DEFAULT_TEXT_LIMIT,
    families: Iterable[Family] = FAMILIES,
) -> Any:
    """Check the artifact at `root` and wrap one of its variants in the class of its family; no graph is loaded yet.

    :raises ArtifactError: with the code of the first check that fails.
    """
    opened = open_artifact(root, variant, task=task, families=families)
    return runtime_of(opened.artifact.family).open_model(opened, threads=threads, text_limit=text_limit)


def load_tokenizer(artifact: Artifact) -> TextTokenizer:
    """The tokenizer of an artifact whose manifest has the section `tokenizer`."""
    spec = artifact.manifest.section(TokenizerSpec)
    return TextTokenizer(artifact.path(spec.file), spec)


def choose_variant(artifact: Artifact, variant: str) -> str:
    """The variant that the caller named; for `auto` int8 where the CPU multiplies bytes exactly, else fp32."""
    if variant != AUTO:
        return variant
    preferred = "int8" if cpu.has_exact_int8() else "fp32"
    candidates = [name for name in (preferred, "fp32") if name in artifact.manifest.variants]
    return candidates[0] if candidates else min(artifact.manifest.variants)

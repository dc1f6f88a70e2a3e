"""From a path to a checked variant: everything FORMAT.md asks of `open`, before any session is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from ..artifacts.checks import Artifact, check_hashes, check_variant, read_artifact
from ..artifacts.errors import ArtifactError
from ..artifacts.manifest import section
from . import cpu
from .tokenizer import TextTokenizer

AUTO = "auto"
# What turns texts into a graph's inputs: a tokenizer, or a spaCy pipeline's rules and tables.
Texts = TypeVar("Texts")


@dataclass(frozen=True)
class OpenArtifact(Generic[Texts]):
    """A checked artifact, the variant chosen from it, and what turns texts into its graphs' inputs."""

    artifact: Artifact
    variant: str
    texts: Texts


def open_artifact(
    root: str | Path, task: str, variant: str, load_texts: Callable[[Artifact], Texts]
) -> OpenArtifact[Texts]:
    """Check the artifact and choose a variant.

    :param load_texts: loads what every variant needs beside its graphs, and raises `tokenizer` where that is wrong.
    :raises ArtifactError: with the code of the first check that fails.
    """
    artifact = read_artifact(root)
    if artifact.manifest.task != task:
        raise ArtifactError("variant", f"{root} is for another task", expected=task, got=artifact.manifest.task)
    chosen = choose_variant(artifact, variant)
    check_hashes(artifact, artifact.manifest.text_files())
    if chosen in artifact.manifest.variants:
        check_variant(artifact, chosen)
    texts = load_texts(artifact)
    artifact.variant(chosen)  # last, as FORMAT.md orders the checks
    return OpenArtifact(artifact, chosen, texts)


def load_tokenizer(artifact: Artifact) -> TextTokenizer:
    """The tokenizer of an artifact whose engine is `transformers`."""
    spec = section(artifact.manifest.tokenizer, "tokenizer")
    return TextTokenizer(artifact.path(spec.file), spec)


def choose_variant(artifact: Artifact, variant: str) -> str:
    """The variant asked for; for `auto` int8 where the CPU multiplies bytes exactly, else fp32."""
    if variant != AUTO:
        return variant
    preferred = "int8" if cpu.has_exact_int8() else "fp32"
    candidates = [name for name in (preferred, "fp32") if name in artifact.manifest.variants]
    return candidates[0] if candidates else min(artifact.manifest.variants)

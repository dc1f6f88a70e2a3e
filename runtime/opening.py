"""From a path to a checked variant: everything FORMAT.md asks of `open`, before any session is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..artifacts.checks import Artifact, check_hashes, check_variant, read_artifact
from ..artifacts.errors import ArtifactError
from . import machine
from .tokenizer import TextTokenizer

AUTO = "auto"


@dataclass(frozen=True)
class OpenArtifact:
    """A checked artifact, the variant chosen from it and its tokenizer."""

    artifact: Artifact
    variant: str
    tokenizer: TextTokenizer


def open_artifact(root: str | Path, task: str, variant: str = AUTO) -> OpenArtifact:
    """Check the artifact and choose a variant.

    :raises ArtifactError: with the code of the first check that fails.
    """
    artifact = read_artifact(root)
    if artifact.manifest.task != task:
        raise ArtifactError("variant", f"{root} is for another task", expected=task, got=artifact.manifest.task)
    chosen = choose_variant(artifact, variant)
    spec = artifact.manifest.tokenizer
    check_hashes(artifact, [spec.file])
    if chosen in artifact.manifest.variants:
        check_variant(artifact, chosen)
    tokenizer = TextTokenizer(artifact.path(spec.file), spec)
    artifact.variant(chosen)  # last, as FORMAT.md orders the checks
    return OpenArtifact(artifact, chosen, tokenizer)


def choose_variant(artifact: Artifact, variant: str) -> str:
    """The variant asked for; for `auto` int8 where the CPU multiplies bytes exactly, else fp32."""
    if variant != AUTO:
        return variant
    preferred = "int8" if machine.has_exact_int8() else "fp32"
    candidates = [name for name in (preferred, "fp32") if name in artifact.manifest.variants]
    return candidates[0] if candidates else min(artifact.manifest.variants)

"""What every pipeline that is one graph is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..artifacts.errors import ConfigError
from ..artifacts.manifest import AnySection, Graph
from ..artifacts.manifest_sections import TokenizerSpec
from ..artifacts.staging import Staged
from . import cpu
from .loading import OpenArtifact
from .session import GraphSession
from .tokenizer import TextTokenizer

# The manifest's section of a task.
Spec = TypeVar("Spec")


@dataclass(frozen=True)
class GraphModel(Generic[Spec]):
    """One variant: the artifact's folder, the graph in it, the manifest's section of the task, the tokenizer."""

    root: Path
    name: str
    version: str
    variant: str
    graph: Graph
    spec: Spec
    tokenizer: TextTokenizer

    def session(self, threads: int | None) -> GraphSession:
        """The graph's session, not loaded; without `threads` with the CPUs that are left to the process."""
        return GraphSession(self.root / self.graph.file, threads or cpu.usable_cpus())


def graph_model(opened: OpenArtifact[TextTokenizer], role: str, spec: Spec) -> GraphModel[Spec]:
    """The parts of a checked artifact."""
    manifest = opened.artifact.manifest
    graph = manifest.variants[opened.variant].graphs[role]
    return GraphModel(
        opened.artifact.root, manifest.name, manifest.version, opened.variant, graph, spec, opened.preprocessor
    )


def staged_model(staged: Staged, variant: str, role: str, kind: type[AnySection]) -> GraphModel[AnySection]:
    """The parts of a variant that is still in its staging folder; `kind` is the section of the family."""
    tokenizer, settings = staged.section(TokenizerSpec), staged.settings
    graph = staged.variants[variant].graphs[role]
    preprocessor = TextTokenizer(staged.folder / tokenizer.file, tokenizer)
    return GraphModel(
        staged.folder, settings.name, settings.version, variant, graph, staged.section(kind), preprocessor
    )


def check_limits(**limits: int | None) -> None:
    """Raise `ConfigError` for a limit below 1; None is left to the defaults."""
    for name, value in limits.items():
        if value is not None and value < 1:
            raise ConfigError(name, expected="at least 1", got=value)


def encoder_feeds(
    graph: Graph, ids: NDArray[np.int64], mask: NDArray[np.int64], prompt_tokens: int = 0
) -> dict[str, NDArray[np.int64]]:
    """The inputs that an encoder's graph declares, from ids and mask, each int64 `[batch, tokens]`."""
    candidates = {
        "input_ids": ids,
        "attention_mask": mask,
        "token_type_ids": np.zeros_like(ids),
        "prompt_length": np.array([prompt_tokens], np.int64),
    }
    return {tensor.name: candidates[tensor.name] for tensor in graph.inputs}

"""What every pipeline that is one graph is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from ..artifacts.errors import ConfigError
from ..artifacts.manifest import Graph
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
    return GraphModel(opened.artifact.root, manifest.name, manifest.version, opened.variant, graph, spec, opened.texts)


def check_limits(**limits: int | None) -> None:
    """Raise `ConfigError` for a limit below 1; None is left to the defaults."""
    for name, value in limits.items():
        if value is not None and value < 1:
            raise ConfigError(name, expected="at least 1", got=value)

"""A model that consists of one graph and a tokenizer, and the inputs of its encoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..artifacts.family import Family
from ..artifacts.manifest import AnySection, Graph
from ..artifacts.manifest_sections import TokenizerSpec
from ..artifacts.staging import Staged
from . import cpu
from .batching import DEFAULT_TOKEN_BUDGET
from .devices import Devices
from .lane import Lane, LaneOptions
from .loading import OpenArtifact
from .meter import Meter
from .options import ModelInfo, Task
from .session import GraphSession

# The dataclass of a family's manifest section, such as `EmbeddingSpec`.
Spec = TypeVar("Spec")
# The class of the tokenizer: `TextTokenizer`, or the tokenizer of a family.
Tokenizer = TypeVar("Tokenizer")


class HasIdentity(Protocol):
    """A variant of a model: its folder, its name and version, and its identity if it is sealed."""

    @property
    def root(self) -> Path:
        """The folder of the artifact or of the staged model."""

    @property
    def name(self) -> str:
        """The name in the manifest."""

    @property
    def version(self) -> str:
        """The version in the manifest."""

    @property
    def variant(self) -> str:
        """The name of the variant."""

    @property
    def identity(self) -> str | None:
        """The SHA-256 of manifest.json in hexadecimal; None if the model is not sealed."""

    @property
    def devices(self) -> Devices:
        """The devices that run the model."""


def model_info(family: Family, model: HasIdentity) -> ModelInfo:
    """Return what a model says of itself."""
    task = Task.of_manifest(family.task)
    if task is None:
        raise ValueError(f"the API has no handle for the task {family.task}")
    return ModelInfo(
        model.name,
        task,
        family.engine,
        model.version,
        model.variant,
        model.identity,
        str(model.root.resolve()),
        model.devices.name,
        model.devices.providers(),
    )


@dataclass(frozen=True)
class GraphModel(Generic[Spec, Tokenizer]):
    """One variant of a model that consists of one graph.

    `root` is the folder of the artifact or of the staged model, `spec` the manifest's section of the family. `identity`
    is that of the artifact, None for a staged model.
    """

    root: Path
    name: str
    version: str
    variant: str
    graph: Graph
    spec: Spec
    tokenizer: Tokenizer
    identity: str | None = None
    devices: Devices = field(default_factory=Devices)

    @property
    def meter(self) -> Meter:
        """Records what the model does."""
        return Meter(self.name, self.version)

    def info(self, family: Family) -> ModelInfo:
        """Return what the model says of itself."""
        return model_info(family, self)

    def session(self, threads: int | None, shrink_above: int = DEFAULT_TOKEN_BUDGET) -> GraphSession:
        """Return a session for the graph, which is not loaded yet.

        :param threads: threads of a run that is alone; None uses all CPUs this process may use.
        :param shrink_above: runs of more padded tokens return their memory to the system; see `GraphSession`.
        """
        path, threads = self.root / self.graph.file, threads or cpu.usable_cpus()
        return GraphSession(path, threads, self.devices, shrink_above=shrink_above, meter=self.meter)

    def lane(self, options: LaneOptions | None, session: GraphSession, max_workers: int | None = None) -> Lane:
        """Return a lane for a session: its runs at the same time are one per thread, on other devices one per device.

        :param max_workers: the maximum of the runs that share a session on the CPU; None is no limit.
        """
        if not self.devices.is_one_cpu:
            return Lane(options, workers=self.devices.count, meter=self.meter)
        workers = session.threads if max_workers is None else min(session.threads, max_workers)
        may_overlap = session.may_overlap if session.threads > 1 else None
        return Lane(options, workers=workers, counts_tokens=True, may_overlap=may_overlap, meter=self.meter)


def graph_model(opened: OpenArtifact[Tokenizer], role: str, spec: Spec) -> GraphModel[Spec, Tokenizer]:
    """Return the model of a checked artifact whose graph has the given role."""
    manifest = opened.artifact.manifest
    graph = manifest.variants[opened.variant].graphs[role]
    return GraphModel(
        opened.artifact.root,
        manifest.name,
        manifest.version,
        opened.variant,
        graph,
        spec,
        opened.preprocessor,
        opened.artifact.identity,
        opened.devices,
    )


def staged_model(
    staged: Staged, variant: str, role: str, kind: type[AnySection], load: Callable[[Path, TokenizerSpec], Tokenizer]
) -> GraphModel[AnySection, Tokenizer]:
    """Return the model of a variant in a staging folder.

    :param kind: the class of the family's section.
    :param load: loads the tokenizer from its file, such as the class `TextTokenizer`.
    """
    tokenizer, settings = staged.section(TokenizerSpec), staged.settings
    graph = staged.variants[variant].graphs[role]
    preprocessor = load(staged.folder / tokenizer.file, tokenizer)
    return GraphModel(
        staged.folder, settings.name, settings.version, variant, graph, staged.section(kind), preprocessor
    )


def encoder_feeds(
    graph: Graph, ids: NDArray[np.int64], mask: NDArray[np.int64], prompt_tokens: int = 0
) -> dict[str, NDArray[np.int64]]:
    """Return the inputs that an encoder's graph declares, by name.

    :param ids: token ids, int64 `[batch, tokens]`.
    :param mask: attention mask, 1 for tokens and 0 for padding, int64 `[batch, tokens]`.
    :param prompt_tokens: number of tokens of the prompt, for graphs with the input `prompt_length`.
    """
    candidates = {
        "input_ids": ids,
        "attention_mask": mask,
        "token_type_ids": np.zeros_like(ids),
        "prompt_length": np.array([prompt_tokens], np.int64),
    }
    return {tensor.name: candidates[tensor.name] for tensor in graph.inputs}

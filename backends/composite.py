"""`CompositeMlBridge`: a chain of models for each task, of any backends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from ..artifacts.errors import ConfigError, InputError, TaskNotLoadedError
from ..runtime.answers import Location
from ..runtime.handle_bridge import HandleBridge
from ..runtime.handles.embedder import Embedder
from ..runtime.handles.handle import Handle
from ..runtime.handles.recognizer import LabeledBackend, Recognizer
from ..runtime.handles.summarizer import Summarizer
from ..runtime.interface import MlBridge
from ..runtime.local_only import is_local_only, not_local
from ..runtime.options import ModelInfo, Task
from ..runtime.status import Health
from .chain import EmbedderChain, LabeledRecognizerChain, Member, RecognizerChain, SummarizerChain

AnyHandle = TypeVar("AnyHandle", bound=Handle[Any])
Self = TypeVar("Self", bound="CompositeMlBridge")
# How the handle of a chain is created, and how a bridge returns the handle of its default model
_CHAINS: dict[Task, Callable[[Sequence[Member]], Handle[Any]]] = {
    Task.EMBEDDING: lambda members: Embedder(EmbedderChain(members)),
    Task.NER: lambda members: Recognizer(_recognizer_chain(members)),
    Task.SUMMARIZATION: lambda members: Summarizer(SummarizerChain(members)),
    Task.RERANK: lambda members: members[0].handle,
}
_HANDLES: dict[Task, Callable[[MlBridge], Handle[Any]]] = {
    Task.EMBEDDING: lambda bridge: bridge.embedder(),
    Task.NER: lambda bridge: bridge.recognizer(),
    Task.SUMMARIZATION: lambda bridge: bridge.summarizer(),
    Task.RERANK: lambda bridge: bridge.reranker(),
}


class CompositeMlBridge(HandleBridge):
    """A chain of models for each task. Thread-safe.

    A text that a member cannot answer, because its server fails, refuses requests for a time or is paused, goes to the
    next one. Errors of texts, options, keys and the call itself never do. A member that fails three calls in a row is
    skipped for 30 seconds. Answers name the member that gave them and the fallbacks before it. The Rust crate has a
    type of the same name with the same calls.
    """

    def __init__(
        self,
        *,
        embedding: Sequence[MlBridge] = (),
        ner: Sequence[MlBridge] = (),
        summarization: Sequence[MlBridge] = (),
        rerank: Sequence[MlBridge] = (),
        local_only: bool = False,
    ) -> None:
        """Chain the default models of bridges, which this bridge closes when it is closed.

        :param embedding: bridges in the order in which they are asked; several must declare the same `space`.
        :param rerank: at most one bridge.
        :param local_only: refuse members that are not on this machine.
        :raises ConfigError: if there is no member, two of a chain have the same backend name, or the spaces differ.
        :raises TaskNotLoadedError: if a bridge has no model of the task.
        :raises BackendError: with the code `not_local`; see `local_only`.
        """
        given = {Task.EMBEDDING: embedding, Task.NER: ner, Task.SUMMARIZATION: summarization, Task.RERANK: rerank}
        chains: dict[Task, list[Member]] = {}
        for task, bridges in given.items():
            handles = [_HANDLES[task](bridge) for bridge in bridges]
            if handles:
                chains[task] = [Member(handle.info.backend, handle) for handle in handles]
        owned = {id(bridge): bridge for bridges in given.values() for bridge in bridges}
        members = [member for chain in chains.values() for member in chain]
        self._set(chains, members, list(owned.values()), local_only=local_only)

    @classmethod
    def _of_members(
        cls: type[Self],
        chains: Mapping[Task, Sequence[Member]],
        members: Sequence[Member],
        owned: Sequence[MlBridge],
        *,
        local_only: bool = False,
    ) -> Self:
        """Chain models that are open, under names of their own; see `open_bridge`.

        :param members: all members, also those that no chain has: calls select them by name.
        :param owned: the bridges that this one closes.
        """
        bridge = cls.__new__(cls)
        bridge._set(chains, members, owned, local_only=local_only)
        return bridge

    def _set(
        self,
        chains: Mapping[Task, Sequence[Member]],
        members: Sequence[Member],
        owned: Sequence[MlBridge],
        *,
        local_only: bool,
    ) -> None:
        if not members:
            raise ConfigError("chains", expected="at least one member", actual="none")
        for task, chain in chains.items():
            _check_chain(task, chain)
        if is_local_only(local_only):
            _check_local(members)
        self._members, self._owned = tuple(members), tuple(owned)
        self._chains = {task: _CHAINS[task](chain) for task, chain in chains.items()}
        self._is_closed = False

    def _all_handles(self) -> Iterable[Handle[Any]]:
        return list({id(member.handle): member.handle for member in self._members}.values())

    def _handle(self, kind: type[AnyHandle], model: str | None) -> AnyHandle:
        if self._is_closed:
            raise TaskNotLoadedError(kind.task)
        members = [member for member in self._members if isinstance(member.handle, kind)]
        if not members:
            raise TaskNotLoadedError(kind.task)
        chain = self._chains.get(kind.task)
        if model is None and isinstance(chain, kind):
            return chain
        # A name of the file comes first: another member's model may have the same one
        named = [member for member in members if member.name == model]
        for member in named or [member for member in members if member.handle.info.name == model]:
            assert isinstance(member.handle, kind)
            return member.handle
        what = f"several models for {kind.task} are open and none was named" if model is None else f"no model {model!r}"
        names = ", ".join(sorted({member.name for member in members}))
        raise InputError("model_not_found", what, expected=f"one of: {names}")

    def models(self) -> tuple[ModelInfo, ...]:
        """Return the members, each once."""
        return () if self._is_closed else super().models()

    def health(self) -> tuple[Health, ...]:
        """Return whether each member works; servers are asked, at no cost of tokens."""
        return () if self._is_closed else super().health()

    def close(self) -> None:
        """Close all members after their running calls have ended."""
        self._is_closed = True
        for handle in self._chains.values():
            handle.close()
        for bridge in self._owned:
            bridge.close()


def _recognizer_chain(members: Sequence[Member]) -> RecognizerChain:
    """Return a chain that takes labels if all its members do."""
    takes_labels = all(isinstance(member.handle.backend, LabeledBackend) for member in members)
    return LabeledRecognizerChain(members) if takes_labels else RecognizerChain(members)


def _check_chain(task: Task, chain: Sequence[Member]) -> None:
    """Raise `ConfigError` for a chain whose members cannot stand for each other."""
    names = [member.name for member in chain]
    if len(set(names)) != len(names):
        raise ConfigError(task, expected="members with different names", actual=", ".join(names))
    if task in _CHECKS and len(chain) > 1:
        _CHECKS[task](chain)


def _check_space(chain: Sequence[Member]) -> None:
    spaces = {member.handle.info.space for member in chain}
    if len(spaces) > 1 or None in spaces:
        actual = ", ".join(f"{member.name}: {member.handle.info.space or 'none'}" for member in chain)
        raise ConfigError("embedding", expected="members that declare the same space", actual=actual)


def _refuse_chain(chain: Sequence[Member]) -> None:
    actual = ", ".join(member.name for member in chain)
    raise ConfigError("rerank", expected="one member, because rankings have no chains", actual=actual)


# The rules of some tasks for chains of several members
_CHECKS: dict[Task, Callable[[Sequence[Member]], None]] = {Task.EMBEDDING: _check_space, Task.RERANK: _refuse_chain}


def _check_local(members: Iterable[Member]) -> None:
    for member in members:
        if member.handle.info.location is Location.NETWORK:
            raise not_local(f"the model {member.name}", expected="models on this machine", actual="a server elsewhere")

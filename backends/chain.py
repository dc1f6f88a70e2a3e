"""A chain of models of one task: what one member cannot answer, the next one gets."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..artifacts.errors import ConfigError, InferenceError, OnnxMlBridgeError, StoppedError
from ..runtime.answers import Fallback, Location
from ..runtime.cancellation import CancelToken, Watch
from ..runtime.handles.embedder import Embedder, EmbedOptions
from ..runtime.handles.handle import Handle, with_index
from ..runtime.handles.recognizer import Recognizer
from ..runtime.handles.summarizer import SummarizeOptions, Summarizer
from ..runtime.meter import Meter
from ..runtime.options import ModelInfo
from ..runtime.text_windows import TextWindow, reloaded
from .pauses import Pause

COMPOSITE = "composite"
# Errors of a member that say nothing of the text or the call
_FALLS_THROUGH = ("upstream", "rate_limited", "quota", "dependency", "inference")
_PAUSED = "upstream"
_FARTHEST = (Location.NETWORK, Location.MACHINE, Location.PROCESS)
# The smallest time limit of a member, in seconds; the call itself stops at its own limit
_MIN_TIMEOUT = 0.001


@dataclass(frozen=True)
class Member:
    """A model of a chain, under the name that answers give."""

    name: str
    handle: Handle[Any]
    pause: Pause = field(default_factory=Pause)


class Chain:
    """The members of one task, the backend of a handle. The options of a call must be valid for all of them."""

    counts_loads: ClassVar[bool] = False

    def __init__(self, members: Sequence[Member]) -> None:
        """Wrap at least one member; the first one is asked first."""
        self.members = tuple(members)
        infos = [member.handle.info for member in members]
        farthest = min((info.location for info in infos), key=_FARTHEST.index)
        first = infos[0]
        self.info = ModelInfo(
            first.name, first.task, COMPOSITE, "", "", None, "", "", {}, COMPOSITE, farthest, first.space
        )
        self.meter = Meter(first.name, COMPOSITE)

    @property
    def first(self) -> Any:
        """The backend of the first member."""
        return self.members[0].handle.backend

    def load(self) -> None:
        """Do nothing: members are loaded by the calls that reach them."""

    def load_within(self, watch: Watch | None) -> None:
        """Do nothing; see `load`."""

    def cancel_load(self) -> None:
        """Do nothing; see `load`."""

    def unload(self) -> None:
        """Do nothing; see `load`."""

    def resident_bytes(self) -> int:
        """Return 0: the memory is that of the members."""
        return 0

    def check(self, options: Any) -> None:
        """Raise the error of the first member that does not accept the options."""
        for member in self.members:
            member.handle.backend.check(options)

    def prepare(self, value: Any, index: int | None, options: Any) -> Any:
        """Check one input as the first member does, and return it as it is."""
        self.first.prepare(value, index, options)
        return value

    def results(self, inputs: Sequence[Any], options: Any, watch: Watch) -> Iterator[tuple[int, Any]]:
        """Yield the index and the outcome of every input; fallbacks are those of each input."""
        yield from _Call(self, inputs, options, watch).run()


class _Call:
    """The state of one call of a chain."""

    def __init__(self, chain: Chain, inputs: Sequence[Any], options: Any, watch: Watch) -> None:
        self._chain, self._inputs, self._options, self._watch = chain, inputs, options, watch
        self._pending = list(range(len(inputs)))
        self._fallbacks: dict[int, tuple[Fallback, ...]] = dict.fromkeys(self._pending, ())
        self._shown: set[int] = set()  # the inputs of which a part was shown: no other member answers them
        self._dim: int | None = None

    def run(self) -> Iterator[tuple[int, Any]]:
        members = self._chain.members
        active = [member for member in members if not member.pause.is_active] or list(members)
        for member in members:
            if member not in active:
                self._pass_on(member.name, self._pending, _PAUSED)
        for number, member in enumerate(active):
            if self._pending:
                yield from self._ask(member, is_last=number + 1 == len(active))

    def _ask(self, member: Member, *, is_last: bool) -> Iterator[tuple[int, Any]]:
        """Yield the final outcomes that a member gives; the other inputs stay pending."""
        indices, self._pending = self._pending, []
        limit, is_own = self._limit(member)
        outcomes = self._outcomes(member, indices, limit)
        self._record(member, outcomes, is_own=is_own)
        found = list(zip(indices, outcomes, strict=True))
        # Answers come first, because the others may raise the reason why the call was stopped
        for index, outcome in sorted(found, key=lambda each: isinstance(each[1], StoppedError)):
            if isinstance(outcome, StoppedError):
                self._watch.check()
            if not is_last and index not in self._shown and _falls_through(outcome, is_own=is_own):
                self._pass_on(member.name, [index], outcome.code)
                self._pending.append(index)
            else:
                yield index, self._final(outcome, member, index)

    def _limit(self, member: Member) -> tuple[float | None, bool]:
        """Return the time limit of a member in seconds, and whether it is its own and not the rest of the call's."""
        own, ends = member.handle._timeout, self._watch.ends
        if ends is None:
            return own, own is not None
        rest = max(ends - time.monotonic(), _MIN_TIMEOUT)
        return (own, True) if own is not None and own < rest else (rest, False)

    def _outcomes(self, member: Member, indices: Sequence[int], limit: float | None) -> list[Any]:
        """Return the outcome of each input; an error of the whole call is that of all."""
        token = CancelToken()
        options = replace(self._options, timeout=limit, cancel=token, **self._own_options(indices))
        each: Any = _EACH[type(member.handle)]
        try:
            with self._watch.listening(token.cancel):
                outcomes: list[Any] = each(member.handle, [self._inputs[index] for index in indices], options)
        except OnnxMlBridgeError as error:
            self._watch.check()
            return [error] * len(indices)
        return outcomes

    def _own_options(self, indices: Sequence[int]) -> Mapping[str, Any]:
        """Return the options that are about single inputs, for those that a member gets."""
        changed: dict[str, Any] = {}
        starts = getattr(self._options, "sentence_starts", None)
        if starts is not None:
            changed["sentence_starts"] = [starts[index] for index in indices]
        if (on_token := getattr(self._options, "on_token", None)) is not None:

            def show(number: int, text: str) -> None:
                self._shown.add(indices[number])
                on_token(indices[number], text)

            changed["on_token"] = show
        return changed

    def _record(self, member: Member, outcomes: Sequence[Any], *, is_own: bool) -> None:
        """Count a call of a member: one answer shows that it works, errors of texts say nothing."""
        if any(not isinstance(outcome, OnnxMlBridgeError) for outcome in outcomes):
            member.pause.answered()
        elif any(_falls_through(outcome, is_own=is_own) for outcome in outcomes):
            member.pause.failed()

    def _pass_on(self, name: str, indices: Sequence[int], code: str) -> None:
        for index in indices:
            self._fallbacks[index] += (Fallback(name, code),)
            self._chain.meter.fell_back(code)

    def _final(self, outcome: Any, member: Member, index: int) -> Any:
        if isinstance(outcome, OnnxMlBridgeError):
            return with_index(outcome, index)
        if (vector := getattr(outcome, "vector", None)) is not None:
            self._dim = self._dim or getattr(self._chain.first, "dim", 0) or len(vector)
            expected = self._options.dimensions or self._dim
            if len(vector) != expected:
                return InferenceError(f"{member.name} returned a vector of {len(vector)} elements, expected {expected}")
        return replace(outcome, backend=member.name, fallbacks=self._fallbacks[index])


# The call of each handle that returns the result or the error of every input
_EACH = {
    Embedder: Embedder.embed_each,
    Recognizer: Recognizer.recognize_each,
    Summarizer: Summarizer.summarize_each,
}


def _falls_through(outcome: Any, *, is_own: bool) -> bool:
    """Return whether the next member gets the input.

    :param is_own: whether the time limit of the member is shorter than what was left of the call's.
    """
    if not isinstance(outcome, OnnxMlBridgeError):
        return False
    return outcome.code in _FALLS_THROUGH or (outcome.code == "timeout" and is_own)


@dataclass(frozen=True, eq=False)
class _MemberWindow(TextWindow):
    """A window, and the version of the member that it is for."""

    backend: Any


class EmbedderChain(Chain):
    """A chain of embedding models of one space, an `EmbedderBackend`."""

    max_tokens = None

    @property
    def dim(self) -> int:
        """The number of elements of a vector; 0 if no member knows it yet."""
        return next((dim for member in self.members if (dim := member.handle.backend.dim)), 0)

    @property
    def normalized(self) -> bool:
        """Whether the vectors have the length 1, as the first member says."""
        return bool(self.first.normalized)

    def split(self, text: str, options: EmbedOptions, stride: int) -> Iterator[TextWindow]:
        """Yield the windows of a text, which the only member tokenizes."""
        if len(self.members) > 1:
            raise ConfigError("embed_windows", expected="one model, by its name", actual="a chain")
        backend = self.first
        windows = backend.split(text, options, stride)
        return (_MemberWindow(each.ids, each.start, each.end, each.new_tokens, backend) for each in windows)

    def embed_windows(
        self, windows: Sequence[TextWindow], options: EmbedOptions, watch: Watch
    ) -> list[NDArray[np.float32]]:
        """Embed windows that `split` returned: float32 `[dim]`, or `[dimensions]` of the options, for each."""
        with self.members[0].handle._slot.running(watch) as backend:
            if any(window.backend is not backend for window in windows if isinstance(window, _MemberWindow)):
                raise reloaded()
            vectors: list[NDArray[np.float32]] = backend.embed_windows(windows, options, watch)
        return vectors


class RecognizerChain(Chain):
    """A chain of models for named entities, a `RecognizerBackend`."""

    @property
    def requires_sentence_starts(self) -> bool:
        """Whether a member requires `sentence_starts`."""
        return any(member.handle.backend.requires_sentence_starts for member in self.members)


class LabeledRecognizerChain(RecognizerChain):
    """A chain of models whose calls may name the labels."""

    takes_labels = True


class SummarizerChain(Chain):
    """A chain of summarization models, a `SummarizerBackend`."""

    max_tokens = None

    @property
    def short_options(self) -> SummarizeOptions:
        """Options with which a summary of one short text takes little time."""
        options: SummarizeOptions = self.first.short_options
        return options if len(self.members) == 1 else SummarizeOptions()

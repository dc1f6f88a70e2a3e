"""The queue of a lane: the order of runs, runs that are merged, and the slots that runs take."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable
from operator import itemgetter

from .batching import MAX_SCORES
from .lane_call import Call, Run, Turn

# A worker looks at this many waiting calls for rows to merge.
_MAX_SEEN = 64


class LaneQueue:
    """The calls of which a run may start now, the next one first, and the runs in progress.

    There are as many slots as workers. A run takes one, and the run of a long text several, so that few of these are in
    progress at the same time: the memory for their activations is bounded. All methods require the lock of the lane.
    """

    def __init__(
        self,
        lock: threading.Lock,
        workers: int,
        *,
        merge: bool,
        counts_tokens: bool,
        may_overlap: Callable[[], bool] | None = None,
    ) -> None:
        """Create an empty queue.

        :param lock: the lock of the lane.
        :param merge: whether rows of several calls share a run.
        :param counts_tokens: whether a run of more than its `max_tokens` takes several slots.
        :param may_overlap: whether a run may start now while another one is in progress; None means that it always may.
        """
        self.turns: list[Turn] = []
        self._lock = lock
        self._workers = workers
        self._merge = merge
        self._counts_tokens = counts_tokens
        self._may_overlap = may_overlap
        self._calls: deque[Call] = deque()

    def __len__(self) -> int:
        """Return the number of calls that wait."""
        return len(self._calls)

    def push(self, call: Call) -> None:
        """Put a call at the end of the queue, unless it has as many runs in progress as there are workers.

        So calls that came meanwhile are served first when one of these runs has ended.
        """
        if call.runs and not call.is_queued and len(call.turns) < self._workers:
            self._calls.append(call)
            call.is_queued = True

    def remove(self, call: Call) -> None:
        """Take a call out of the queue."""
        if call.is_queued:
            self._calls.remove(call)
            call.is_queued = False

    def begins_with(self, call: Call) -> bool:
        """Whether the next run that may start now is one of a call."""
        return self.may_begin() and self._calls[0] is call

    def may_begin(self) -> bool:
        """Whether the first call may run now: it is never overtaken by calls whose runs take fewer slots."""
        if not self._calls:
            return False
        return not self.turns or self._slots(self._calls[0]) <= self.free_slots()

    def free_slots(self) -> int:
        """Return the number of slots that runs may take now."""
        if self._may_overlap is not None and not self._may_overlap():
            return 0 if self.turns else 1
        return self._workers - sum(turn.slots for turn in self.turns)

    def startable(self) -> list[Call]:
        """Return the first calls in their order, each as often as it has runs that may be in progress together."""
        first = itertools.islice(self._calls, self._workers)
        return [call for call in first for _ in range(min(len(call.runs), self._workers - len(call.turns)))]

    def begin(self) -> Turn:
        """Take the next run of the first call, and runs of other calls that can be merged with it."""
        call = self._calls[0]
        slots = self._slots(call)
        turn = Turn(self._lock, call, *self._take(call), slots)
        if self._merge and turn.runs[0][2].key is not None:
            self._fill(turn)
        self.turns.append(turn)
        for each, _, _ in turn.runs:
            each.turns.append(turn)
            self.push(each)
        return turn

    def end(self, turn: Turn) -> None:
        """End a turn: its calls go to the end of the queue if they have further runs."""
        self.turns.remove(turn)
        for call, _, _ in turn.runs:
            call.turns.remove(turn)
            self.push(call)

    def _slots(self, call: Call) -> int:
        """Return the number of slots that the next run of a call takes."""
        return call.runs[0][1].slots(self._workers) if self._counts_tokens else 1

    def _take(self, call: Call) -> tuple[int, Run]:
        """Take the next run of a call, which leaves the queue."""
        self.remove(call)
        return call.runs.popleft()

    def _fill(self, turn: Turn) -> None:
        """Merge next runs of other waiting calls, as long as at most a quarter of the tokens is padding."""
        first = turn.runs[0][2]
        longest, rows, tokens = first.longest, len(first.rows), first.tokens
        merged = []
        for index, call in self._mergeable(first):
            run = call.runs[0][1]
            width, height, count = max(longest, run.longest), rows + len(run.rows), tokens + run.tokens
            padded = width * height
            if padded <= first.max_tokens and padded * width <= MAX_SCORES and 4 * count >= 3 * padded:
                longest, rows, tokens = width, height, count
                merged.append((index, call))
        for _, call in sorted(merged, key=itemgetter(0)):
            turn.add(call, *self._take(call))

    def _mergeable(self, first: Run) -> list[tuple[int, Call]]:
        """Return waiting calls whose next run has the key of `first`, with their indices in the queue.

        Those with about the same number of tokens in the longest row come first: they need the least padding.
        """
        looked_at = itertools.islice(self._calls, _MAX_SEEN)
        others = [(index, call) for index, call in enumerate(looked_at) if call.runs[0][1].key == first.key]
        return sorted(others, key=lambda other: abs(other[1].runs[0][1].longest - first.longest))

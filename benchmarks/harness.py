"""What all benchmarks share: interleaved rounds, what they found and what they missed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import psutil
from rich.console import Console

from .children import Failed
from .contenders import Unavailable
from .processes import wait_until_idle
from .results import Figure

EVERYTHING = "everything"
WARM_UP = "warm-up"

Found = TypeVar("Found")


@dataclass(kw_only=True)
class Rounds:
    """A run in progress."""

    rounds: int
    console: Console
    missing: dict[str, dict[str, str]] = field(default_factory=dict)
    other_load: list[float] = field(default_factory=list)
    busy_workers: int = 0
    _values: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def orders(self, names: list[str]) -> Iterator[tuple[str, list[str]]]:
        """The warm-up's order, then every round's; each begins with another contender."""
        yield WARM_UP, names
        for number in range(self.rounds):
            start = number % max(1, len(names))
            yield f"round {number + 1} of {self.rounds}", names[start:] + names[:start]

    def watch(self, processes: list[psutil.Process]) -> None:
        """Begin only when the contenders are idle, and notice what else runs on the machine."""
        found = wait_until_idle(processes)
        self.busy_workers += not found.idle
        self.other_load.append(found.machine_load)

    def attempt(self, name: str, what: str, action: Callable[[], Found]) -> Found | None:
        """The action's result, or None and the reason noted; what failed once is not tried again."""
        if what in self.missing.get(name, {}):
            return None
        try:
            return action()
        except Failed as error:
            self.miss(name, what, error)
            return None

    def miss(self, name: str, what: str, error: Unavailable | Failed) -> None:
        """Note the reason, and print it the first time that this contender gives it."""
        known = self.missing.setdefault(name, {})
        if str(error) not in known.values():
            self.console.print(f"[yellow]not measured:[/] {name}, {what}: {error}", highlight=False)
            if isinstance(error, Failed) and error.detail:
                self.console.print(error.detail.strip(), style="dim", markup=False, highlight=False)
        known[what] = str(error)

    def note(self, name: str, figure: str, value: float) -> None:
        """Keep what a round found."""
        self._values.setdefault(name, {}).setdefault(figure, []).append(value)

    def figures(self, name: str) -> dict[str, Figure]:
        """What was found of a contender."""
        return {key: Figure(tuple(found)) for key, found in self._values.get(name, {}).items()}

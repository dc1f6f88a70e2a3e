"""The record of a run: values by contender, metric and round, and the reasons for missing values."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from .contenders import Unavailable
from .environment import Failed
from .processes import Timed
from .workload import Setting

EVERYTHING = "everything"

Result = TypeVar("Result")


class Record:
    """The values of one workload during a run, by round; round 0 is the warm-up.

    Metrics that are measured only once have their value in round 0.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        """Start without values; `say` is called with a message if a value cannot be measured."""
        self._say = say
        self._values: dict[str, dict[str, dict[int, float]]] = {}
        self.missing: dict[str, dict[str, str]] = {}
        self.outputs: dict[str, int] = {}

    def attempt(self, name: str, what: str, action: Callable[[], Result]) -> Result | None:
        """Run an action and return its result; if it fails, record the reason and return None.

        An action that has failed before is not run again.
        """
        if what in self.missing.get(name, {}):
            return None
        try:
            return action()
        except Failed as error:
            self.miss(name, what, error)
            return None

    def miss(self, name: str, what: str, error: Unavailable | Failed) -> None:
        """Record why a value is missing, and report each reason once."""
        known = self.missing.setdefault(name, {})
        if str(error) not in known.values():
            detail = f"\n{error.detail.strip()}" if isinstance(error, Failed) and error.detail else ""
            self._say(f"not measured: {name}, {what}: {error}{detail}")
        known[what] = str(error)

    def note(self, name: str, metric: str, number: int, value: float) -> None:
        """Record a value of a round."""
        self._values.setdefault(name, {}).setdefault(metric, {})[number] = value

    def note_timed(self, name: str, setting: Setting, number: int, timed: Timed) -> None:
        """Record the duration, the CPU time and the number of outputs of a round; of the warm-up, only the outputs."""
        self.outputs[name] = self.outputs.get(name, 0) + (timed.outputs or 0)
        if number == 0:
            return
        self.note(name, setting.metric.key, number, setting.value(number, timed.seconds))
        if setting.cpu_metric and timed.cpu_seconds:  # CPU seconds can be 0 for a short round
            self.note(name, setting.cpu_metric.key, number, setting.value(number, timed.cpu_seconds))

    def values(self, name: str) -> dict[str, dict[int, float]]:
        """Return the values of a contender by metric and round."""
        return self._values.get(name, {})

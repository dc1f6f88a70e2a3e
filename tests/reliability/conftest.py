"""Records the outcome of every file of a run that includes this folder, for docs/reliability.md."""

from __future__ import annotations

from collections import defaultdict

import pytest
from reliability import record


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Record how many tests of each file passed; a file with a failure is recorded as failed."""
    files: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            if hasattr(report, "duration"):
                files[report.nodeid.partition("::")[0]][outcome].append(report.duration)
    for name, outcomes in files.items():
        counts = ", ".join(f"{len(outcomes[each])} {each}" for each in outcomes)
        record(name, f"{counts}, {sum(map(sum, outcomes.values())):.0f} s")

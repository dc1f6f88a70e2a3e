"""How long the tests of tests/reliability run, and where they record their figures.

ONNX_ML_BRIDGE_RELIABILITY is `short` (in `make test`), `ci` (in continuous integration) or `long`.
ONNX_ML_BRIDGE_RESULTS is the path of docs/reliability.json, if the figures shall be recorded.
"""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

MODES = ("short", "ci", "long")
MODE = os.environ.get("ONNX_ML_BRIDGE_RELIABILITY", "short")
RESULTS = os.environ.get("ONNX_ML_BRIDGE_RESULTS")

Value = TypeVar("Value")


def by_mode(short: Value, ci: Value, long: Value) -> Value:
    """Return the value for the mode of this run."""
    return dict(zip(MODES, (short, ci, long), strict=True))[MODE]


def record(row: str, test: str, figure: str) -> None:
    """Record the figure of a test, which belongs to a row of docs/reliability.md."""
    if RESULTS is None:
        return
    path = Path(RESULTS)
    with FileLock(f"{path}.lock"):
        results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        results.setdefault(row, {})[test] = {"mode": MODE, "date": today, "figure": figure}
        path.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n", encoding="utf-8")

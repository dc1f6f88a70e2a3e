"""How long the tests of tests/reliability run, and where they record their results.

ONNX_ML_BRIDGE_RELIABILITY is `short` in `make test`, `ci` in `make reliability-ci`, and `long` in `make reliability`.
ONNX_ML_BRIDGE_RESULTS is the path of docs/reliability.json if the results shall be recorded.
"""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

MODES = ("short", "ci", "long")
MODE = os.environ.get("ONNX_ML_BRIDGE_RELIABILITY", "short")
RESULTS = os.environ.get("ONNX_ML_BRIDGE_RESULTS")

Value = TypeVar("Value")


def by_mode(short: Value, ci: Value, long: Value) -> Value:
    """Return the value for the mode of this run."""
    return dict(zip(MODES, (short, ci, long), strict=True))[MODE]


def record(test: str, figure: str) -> None:
    """Record the figure of a test; `test` is the path of its file and, after `::`, what was tested.

    scripts/reliability.py adds the figures of a file or of a part of them to docs/reliability.md.
    """
    if RESULTS is None:
        return
    path = Path(RESULTS)
    with FileLock(f"{path}.lock"):
        results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        results[test] = {"mode": MODE, "date": today, "figure": figure}
        path.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    Path(f"{path}.lock").unlink(missing_ok=True)

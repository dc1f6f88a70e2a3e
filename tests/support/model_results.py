"""Where the tests of the matrix of architectures record their results, for docs/models.md.

ONNX_ML_BRIDGE_MODELS is the path of docs/models.json if the results shall be recorded.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from filelock import FileLock

RESULTS = os.environ.get("ONNX_ML_BRIDGE_MODELS")


def record(table: str, row: str, figures: dict[str, float | int | str]) -> None:
    """Add figures to a row of a table of docs/models.json."""
    if RESULTS is None:
        return
    path = Path(RESULTS)
    with FileLock(f"{path}.lock"):
        results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        results.setdefault(table, {}).setdefault(row, {}).update(figures)
        path.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    Path(f"{path}.lock").unlink(missing_ok=True)

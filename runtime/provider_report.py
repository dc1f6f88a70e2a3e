"""Count the nodes that each execution provider runs, in a profiled run of one short input."""

from __future__ import annotations

import json
import logging
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)
_DTYPES = {
    "tensor(bool)": np.bool_,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
}
# Inputs for which 1 is out of range: a summary has at least 2 tokens, of which the first starts it.
_VALUES = {"max_length": 2}


@contextmanager
def profile_prefix() -> Iterator[str]:
    """Return the beginning of the path of a profile, in a folder that is removed in the end."""
    with tempfile.TemporaryDirectory(prefix="onnx-ml-bridge-") as folder:
        yield str(Path(folder) / "profile")


def count_nodes(session: Any) -> dict[str, int]:
    """Run a session with a profile once, end the profile, and return the number of nodes by provider.

    The result is empty if the run fails, which the log says.
    """
    try:
        session.run(None, {value.name: _short_input(value) for value in session.get_inputs()})
    except Exception:  # whatever happens here, the session may still answer the calls
        logger.warning("the run that counts the nodes of each provider failed", exc_info=True)
        session.end_profiling()
        return {}
    return count_events(json.loads(Path(session.end_profiling()).read_text(encoding="utf-8")))


def count_events(events: list[dict[str, Any]]) -> dict[str, int]:
    """Return the number of nodes by provider in the events of a profile; a node of a loop counts once."""
    nodes = {
        (event["args"]["provider"], event["name"])
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time") and "provider" in event["args"]
    }
    return dict(sorted(Counter(provider for provider, _ in nodes).items()))


def _short_input(value: Any) -> NDArray[Any]:
    """Return ones for an input of a graph: one row, and two elements in every other dynamic dimension."""
    shape = [dim if isinstance(dim, int) else 2 for dim in value.shape]
    if shape and not isinstance(value.shape[0], int) and len(shape) > 1:
        shape[0] = 1
    return np.full(shape, _VALUES.get(value.name, 1), _DTYPES[value.type])

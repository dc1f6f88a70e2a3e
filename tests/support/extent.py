"""How long the tests of reliability run: ONNX_ML_BRIDGE_RELIABILITY is short (the default), ci or long."""

from __future__ import annotations

import os
from enum import StrEnum


class Extent(StrEnum):
    """A slice that every test run has time for, one for continuous integration, and the whole matrix."""

    SHORT = "short"
    CI = "ci"
    LONG = "long"


EXTENT = Extent(os.environ.get("ONNX_ML_BRIDGE_RELIABILITY", "short"))

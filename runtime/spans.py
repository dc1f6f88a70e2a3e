"""A span of OpenTelemetry for every call, if the application uses OpenTelemetry."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any


def call_span(model: str, task: str) -> AbstractContextManager[Any]:
    """Return the span of a call, the current one while the context is active. It has no text.

    The span has no exception either, because a message may quote an option of the call. Nothing is imported here: an
    application that has a tracer has imported OpenTelemetry.
    """
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return nullcontext()
    attributes = {"model": model, "task": task}
    span: AbstractContextManager[Any] = _tracer(api).start_as_current_span(
        "call", attributes=attributes, record_exception=False, set_status_on_exception=False
    )
    return span


@cache
def _tracer(api: Any) -> Any:
    return api.get_tracer("onnx_ml_bridge")

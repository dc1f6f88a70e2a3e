"""The metrics of all models of the process for Prometheus; docs/metrics.md defines them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from ..artifacts.errors import DependencyError
from .meter import Histogram, Meter, Numbers, all_numbers

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as Family

PREFIX = "onnx_ml_bridge_"
_LABELS = ("model", "version")


@dataclass(frozen=True)
class Metric:
    """A metric: its name without the prefix, its type, what it means, and an additional label."""

    name: str
    kind: str
    meaning: str
    label: str | None = None


METRICS = (
    Metric("requests_total", "counter", "Calls that were answered, also if single texts failed"),
    Metric("items_total", "counter", "Texts of the calls that were answered"),
    Metric("tokens_total", "counter", "Tokens without padding; for summaries the generated tokens"),
    Metric("runs_total", "counter", "Runs of graphs, or requests to a server; a run for several calls counts once"),
    Metric("errors_total", "counter", "Texts, or whole calls, that failed", "code"),
    Metric("unloads_total", "counter", "Unloads of models", "reason"),
    Metric("retries_total", "counter", "Requests to a server that were sent again", "code"),
    Metric("fallbacks_total", "counter", "Texts that a chain gave to its next member", "code"),
    Metric("dropped_entities_total", "counter", "Entities of a language model that are not in the text"),
    Metric("request_seconds", "histogram", "Duration of the calls that were answered, without loading the model"),
    Metric(
        "queue_seconds", "histogram", "Time that a call waited in the queue of its model until its first run started"
    ),
    Metric("run_seconds", "histogram", "Duration of one run of a graph, or of one request"),
    Metric("run_tokens", "histogram", "Tokens of one run of a graph, padding included"),
    Metric("load_seconds", "histogram", "Duration of loading the graphs of a model"),
    Metric("waiting", "gauge", "Calls with runs that have not started"),
    Metric("loaded", "gauge", "Models whose graphs are loaded"),
    Metric("resident_bytes", "gauge", "Memory of the loaded graphs"),
)


class MetricsCollector:
    """Collects the metrics of all models of this process, whenever they are scraped.

    Register one with a registry of prometheus_client:

    from prometheus_client import REGISTRY
    REGISTRY.register(MetricsCollector())
    """

    def __init__(self) -> None:
        """Import prometheus_client, which the extra `metrics` installs.

        :raises DependencyError: if it is not installed.
        """
        try:
            self._core: Any = importlib.import_module("prometheus_client.metrics_core")
        except ImportError as error:
            hint = "Run: pip install 'onnx-ml-bridge[metrics]'."
            raise DependencyError("prometheus_client is not installed", hint=hint) from error

    def describe(self) -> Iterator[Family]:
        """Yield the metrics without values: a registry refuses two collectors of the same metrics."""
        return self._families({})

    def collect(self) -> Iterator[Family]:
        """Yield the metrics with the values of this moment."""
        return self._families(all_numbers())

    def _families(self, numbers: Mapping[Meter, Numbers]) -> Iterator[Family]:
        kinds: dict[str, Callable[..., Family]] = {
            "counter": self._core.CounterMetricFamily,
            "gauge": self._core.GaugeMetricFamily,
            "histogram": self._core.HistogramMetricFamily,
        }
        for metric in METRICS:
            labels = _LABELS if metric.label is None else (*_LABELS, metric.label)
            family: Any = kinds[metric.kind](PREFIX + metric.name, metric.meaning, labels=labels)
            for meter, values in numbers.items():
                _add(family, (meter.model, meter.version), getattr(values, metric.name.removesuffix("_total")))
            yield family


def _add(family: Any, labels: tuple[str, ...], value: int | Histogram | Mapping[str, int]) -> None:
    """Add the samples of one model to a metric."""
    if isinstance(value, Histogram):
        bounds = [*(str(bound) for bound in value.bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(value.counts), strict=True))
        family.add_metric(labels, buckets=buckets, sum_value=value.sum)
    elif isinstance(value, int):
        family.add_metric(labels, value)
    else:
        for label, count in value.items():
            family.add_metric((*labels, str(label)), count)

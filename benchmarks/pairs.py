"""Compare releases by paired ratios: the ratio of the values of two releases in the same round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from .contenders import Contender
from .record import Record
from .results import Figure, PairedRow
from .targets import PAIRED_MINIMUM, verdict_of
from .workload import Metric, Workload


def pair_releases(workload: Workload, record: Record) -> tuple[PairedRow, ...]:
    """Compare every contender of an earlier release with the same contender of this release."""
    current = {contender.label: contender for contender in workload.contenders if not contender.release}
    earlier = [contender for contender in workload.contenders if contender.release]
    return tuple(_pair(current[each.label], each, workload, record) for each in earlier if each.label in current)


def paired_ratios(metric: Metric, new: Mapping[int, float], old: Mapping[int, float]) -> tuple[float, ...]:
    """Return one ratio for each round that has both values; it is above 1 if the new value is better."""
    rounds = sorted(new.keys() & old.keys())
    sides = [(new[number], old[number]) if metric.higher_is_better else (old[number], new[number]) for number in rounds]
    return tuple(above / below for above, below in sides if below)


def _pair(new: Contender, old: Contender, workload: Workload, record: Record) -> PairedRow:
    ratios = dict(_figures(workload.metrics, record.values(new.name), record.values(old.name)))
    timed = _timed_metrics(workload)
    verdicts = {
        key: verdict_of(figure.median, PAIRED_MINIMUM if key in timed else None) for key, figure in ratios.items()
    }
    return PairedRow(new.label, old.release, ratios, verdicts)


def _figures(
    metrics: Sequence[Metric], new: Mapping[str, Mapping[int, float]], old: Mapping[str, Mapping[int, float]]
) -> Iterator[tuple[str, Figure]]:
    for metric in metrics:
        if metric.higher_is_better is None:
            continue
        if ratios := paired_ratios(metric, new.get(metric.key, {}), old.get(metric.key, {})):
            yield metric.key, Figure(ratios)


def _timed_metrics(workload: Workload) -> set[str]:
    metrics = [metric for setting in workload.settings for metric in (setting.metric, setting.cpu_metric)]
    return {metric.key for metric in metrics if metric}

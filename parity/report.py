"""The parity report: one HTML file, with everything in it, for a person who decides about a variant."""

from __future__ import annotations

import math
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup

from ..artifacts.layout import data_file
from ..artifacts.manifest import Manifest
from . import plots
from .compare import check_gate
from .embedding import EmbeddingParity, worst_texts
from .texts import HARD, PLAIN

_EXACT = "fp32"  # the variant that is judged by its largest difference; every other one by its cosines
_METRICS: dict[str, dict[str, str]] = {
    "Exactness": {"max_abs": "largest difference of an element", "token_mismatches": "texts cut or counted otherwise"},
    "Cosine, plain texts": {"cosine_min": "lowest", "cosine_p01": "1st percentile", "cosine_p05": "5th percentile",
                            "cosine_mean": "mean"},
    "Cosine, hard texts": {"cosine_min_hard": "lowest", "cosine_p01_hard": "1st percentile",
                           "cosine_p05_hard": "5th percentile", "cosine_mean_hard": "mean"},
    "Search": {"neighbours": "ten nearest texts kept", "nearest": "nearest text kept"},
}  # fmt: skip
_SHARES = ("neighbours", "nearest")
_MARKS = {" ": "␣", "\n": "↵", "\r": "␍", "\t": "⇥", "\u00a0": "[NBSP]", "\u200b": "[ZWSP]", "\ufeff": "[BOM]"}
_CUT_AT = 200  # where worst_texts cuts a text


@dataclass(frozen=True)
class Cell:
    """A figure of one variant beside its gate; `passed` is None where the gate does not speak of it."""

    value: str
    gate: str
    passed: bool | None


@dataclass(frozen=True)
class Metric:
    """A row of the table: what a figure is, its name in the manifest, one cell per variant."""

    label: str
    name: str
    cells: list[Cell]


@dataclass(frozen=True)
class Tile:
    """A large figure, what it is, and what it is made of."""

    value: str
    label: str
    detail: str


@dataclass(frozen=True)
class Plot:
    """A drawing with its title and a sentence on how to read it."""

    title: str
    note: str
    svg: Markup


def write_report(parity: EmbeddingParity, manifest: Manifest, speeds: Mapping[str, float], path: Path) -> None:
    """Write the report to `path`, whole or not at all; it needs no network and no other file.

    :param manifest: of the same build: it has every variant that `parity` compared.
    :param speeds: texts per second by variant, and of `original`; a name may be missing.
    """
    names = list(parity.comparisons)
    page = _environment().from_string(_template()).render(
        manifest=manifest, parity=parity, names=names, colours=plots.variant_colours(names),
        tiles=_tiles(parity, manifest, speeds), metrics=_metric_groups(parity, manifest),
        plots=_plots(parity, manifest, speeds), worst={name: worst_texts(parity, name) for name in names},
        quantized={name: manifest.variants[name].quantization for name in names}, exact=_EXACT, cut_at=_CUT_AT,
    )  # fmt: skip
    _write_whole(page, path)


def graph_sizes(manifest: Manifest) -> dict[str, int]:
    """Bytes of each variant's graphs and of the weights they keep outside."""
    sizes = {}
    for name, variant in manifest.variants.items():
        files = {path for graph in variant.graphs.values() for path in (graph.file, data_file(graph.file))}
        sizes[name] = sum(manifest.files[path].size for path in files if path in manifest.files)
    return sizes


def figure(value: float) -> str:
    """A metric as a person reads it: cosines with six decimals, small numbers with a power of ten."""
    if not math.isfinite(value) or value == int(value):
        return f"{value:g}"
    if 0 < abs(1 - value) < 5e-7:
        return f"1 {'−' if value < 1 else '+'} {plots.scientific(abs(1 - value), 1)}"
    return plots.scientific(value) if 0 < value < 1e-3 else f"{value:.6f}"


def _threshold(value: float) -> str:
    return plots.scientific(value) if 0 < value < 1e-3 else f"{value:g}"


def visible(text: str) -> str:
    """The text with marks for what nobody sees: control characters always, blanks where there is nothing else."""
    if not text:
        return "(empty)"
    if not any(character.isprintable() and not character.isspace() for character in text):
        return "".join(_MARKS.get(character, f"[U+{ord(character):04X}]") for character in text)
    hidden = ("Cc", "Cs", "Co", "Cn")
    return "".join(
        f"[U+{ord(character):04X}]" if unicodedata.category(character) in hidden and not character.isspace()
        else character for character in text
    )  # fmt: skip


def _metric_groups(parity: EmbeddingParity, manifest: Manifest) -> dict[str, list[Metric]]:
    found = dict.fromkeys(name for comparison in parity.comparisons.values() for name in comparison.metrics)
    known = {name for group in _METRICS.values() for name in group}
    groups = {**_METRICS, "Other": {name: name for name in found if name not in known}}
    tables = {
        title: [Metric(label, name, [_cell(parity, manifest, variant, name) for variant in parity.comparisons])
                for name, label in labels.items() if name in found]
        for title, labels in groups.items()
    }  # fmt: skip
    return {title: rows for title, rows in tables.items() if rows}


def _cell(parity: EmbeddingParity, manifest: Manifest, variant: str, name: str) -> Cell:
    metrics, gate = parity.comparisons[variant].metrics, manifest.variants[variant].gate
    if name not in metrics:
        return Cell("–", "", None)
    value = f"{metrics[name]:.1%}" if name in _SHARES else figure(metrics[name])
    if name not in gate:
        return Cell(value, "", None)
    threshold = f"{gate[name]:.1%}" if name in _SHARES else _threshold(gate[name])
    above = bool(check_gate({name: math.inf}, {name: gate[name]}))  # infinity misses a gate that bounds from above
    return Cell(value, f"{'≤' if above else '≥'} {threshold}", not check_gate(metrics, {name: gate[name]}))


def _tiles(parity: EmbeddingParity, manifest: Manifest, speeds: Mapping[str, float]) -> list[Tile]:
    plain = parity.groups.count(PLAIN)
    tiles = [Tile(str(len(parity.groups)), "texts judged", f"{plain} plain, {len(parity.groups) - plain} hard")]
    for name, comparison in parity.comparisons.items():
        if name == _EXACT:
            largest = figure(comparison.metrics["max_abs"])
            tiles.append(Tile(largest, f"{name}, largest difference", "of any element of any vector"))
    smaller = [name for name in parity.comparisons if name != _EXACT]
    for name in smaller[:1]:
        cosines = parity.comparisons[name].cosines
        lowest, mean = (figure(round(float(value), 7)) for value in (cosines.min(), cosines.mean()))
        tiles.append(Tile(lowest, f"{name}, lowest cosine", f"mean {mean}"))
    return [*tiles, *_ratio_tiles((smaller or [_EXACT])[0], graph_sizes(manifest), speeds)]


def _ratio_tiles(name: str, sizes: Mapping[str, int], speeds: Mapping[str, float]) -> list[Tile]:
    """How much smaller than fp32 and how much faster than the original a variant is, as far as both are known."""
    tiles = []
    if name != _EXACT and sizes.get(name) and _EXACT in sizes:
        detail = f"{size_text(sizes[name])} instead of {size_text(sizes[_EXACT])}"
        tiles.append(Tile(f"{sizes[_EXACT] / sizes[name]:.1f}×", f"{name} smaller than {_EXACT}", detail))
    if speeds.get(name) and speeds.get(plots.ORIGINAL):
        detail = f"{speed_text(speeds[name])} texts/s instead of {speed_text(speeds[plots.ORIGINAL])}"
        tiles.append(Tile(f"{speeds[name] / speeds[plots.ORIGINAL]:.1f}×", f"{name} speed over the original", detail))
    return tiles


def size_text(size: float) -> str:
    """A size in decimal units: 22.9 MB."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.{0 if unit == 'bytes' else 1}f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def speed_text(speed: float) -> str:
    """Texts per second with three digits or more: 77.5, 351, 1,234."""
    return f"{speed:,.0f}" if speed >= 100 else f"{speed:.3g}"


def _plots(parity: EmbeddingParity, manifest: Manifest, speeds: Mapping[str, float]) -> list[Plot]:
    colours = plots.variant_colours(list(parity.comparisons))
    drawn = [_error_plot(parity, manifest, colours), _size_speed_plot(manifest, speeds, colours)]
    inexact = [name for name in parity.comparisons if name != _EXACT]
    drawn += [plot for name in inexact if (plot := _layer_plot(manifest, name, colours[name]))]
    return drawn + [_token_plot(parity, manifest, name, colours[name]) for name in inexact]


def _error_plot(parity: EmbeddingParity, manifest: Manifest, colours: Mapping[str, str]) -> Plot:
    groups = np.array(parity.groups)
    exact: list[plots.ErrorRow] = []
    others: list[plots.ErrorRow] = []
    for name, comparison in parity.comparisons.items():
        bounds = _cosine_bounds(manifest, name)
        parts = {"all": groups == groups} if name == _EXACT else {kind: groups == kind for kind in (PLAIN, HARD)}
        for kind, chosen in parts.items():
            bound = 1 - bounds[kind] if kind in bounds else None
            part = f"{kind}, {int(chosen.sum())}"
            if chosen.any():
                row = plots.ErrorRow(name, part, colours[name], 1 - comparison.cosines[chosen], bound)
                (exact if name == _EXACT else others).append(row)
    svg = plots.plot_errors([rows for rows in (exact, others) if rows], "errors", "Histograms of 1 minus cosine")
    return _plot("How far from the original", "The line is the median. Every panel has an axis of its own.", svg)


def _size_speed_plot(manifest: Manifest, speeds: Mapping[str, float], colours: Mapping[str, str]) -> Plot:
    sizes = {name: size for name, size in graph_sizes(manifest).items() if name in colours}
    whole, base = sizes.get(_EXACT), speeds.get(plots.ORIGINAL)
    shares = {name: f" · {size / whole:.0%}" for name, size in sizes.items() if whole and name != _EXACT}
    panels = {"size of graphs and weights": [
        plots.Bar(name, colours[name], size, size_text(size) + shares.get(name, "")) for name, size in sizes.items()
    ]}  # fmt: skip
    bars = [
        plots.Bar(name, colours.get(name, plots.ORIGINAL), speed,
                  speed_text(speed) + (f" · {speed / base:.1f}×" if base and name in colours else ""))
        for name in (plots.ORIGINAL, *colours) if (speed := speeds.get(name))
    ]  # fmt: skip
    panels |= {"speed, texts per second": bars} if bars else {}
    note = "The original is sentence-transformers. A guide, not a benchmark."
    return _plot("Size and speed", note, plots.plot_bars(panels, "cost", "Bars of size and speed by variant"))


def _layer_plot(manifest: Manifest, name: str, colour: str) -> Plot | None:
    quantization = manifest.variants[name].quantization
    if quantization is None or not quantization.layers:
        return None
    layers = quantization.layers
    if list(layers) == sorted(layers):  # read from canonical JSON, which sorts names as text: go by their numbers
        layers = {key: layers[key] for key in sorted(layers, key=_by_numbers)}
    svg = plots.plot_layers(layers, colour, f"layers-{name}", f"Signal to noise of every product of {name}")
    return _plot(f"{name}: what each product costs", "40 dB is noise of 1 % of the signal; higher is better.", svg)


def _token_plot(parity: EmbeddingParity, manifest: Manifest, name: str, colour: str) -> Plot:
    points = plots.TokenPoints(np.array(parity.original.tokens), parity.comparisons[name].cosines,
                               tuple(parity.groups), _cosine_bounds(manifest, name), colour)  # fmt: skip
    svg = plots.plot_tokens(points, f"tokens-{name}", f"Cosine of {name} by number of tokens")
    cut = sum(parity.original.truncated)
    note = f"Every point is a text; {cut or 'none'} of them {'was' if cut < 2 else 'were'} cut to the model's limit."
    return _plot(f"{name}: cosine by length", note, svg)


def _cosine_bounds(manifest: Manifest, variant: str) -> dict[str, float]:
    gate = manifest.variants[variant].gate
    names = {PLAIN: "cosine_min", HARD: "cosine_min_hard"}
    return {group: gate[name] for group, name in names.items() if gate.get(name, 1) < 1}  # 1 has no place in a log plot


def _plot(title: str, note: str, svg: str) -> Plot:
    return Plot(title, note, Markup(svg))


def _by_numbers(name: str) -> list[tuple[int, str]]:
    """A key that puts MatMul_9 before MatMul_10."""
    parts = "".join(letter if letter.isdecimal() else f" {letter} " for letter in name).split()
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
                                     lstrip_blocks=True)  # fmt: skip
    environment.filters |= {"figure": figure, "visible": visible, "median": _median}
    return environment


def _median(values: Sequence[float]) -> float:
    return float(np.median(list(values)))


def _template() -> str:
    return resources.files(__package__).joinpath("report.html.j2").read_text(encoding="utf-8")


def _write_whole(page: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            file.write(page)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)

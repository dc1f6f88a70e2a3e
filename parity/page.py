"""The common parts of all parity reports: metrics and gates, sizes, speeds, and the HTML page."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from ..artifacts.constants import EXACT
from ..artifacts.family import Family, Metric, gate_misses, metrics_among
from ..artifacts.manifest import Manifest
from ..artifacts.new_file import new_file
from . import drawing
from .proof import Parity

REPORT_TEMPLATE = "report.html.j2"
_MARKS = {" ": "␣", "\n": "↵", "\r": "␍", "\t": "⇥", "\u00a0": "[NBSP]", "\u200b": "[ZWSP]", "\ufeff": "[BOM]"}
_LINE_ENDS = {"\n": "↵ ", "\r": "␍", "\t": "⇥"}
# Unicode categories of characters that are displayed as code points: control, surrogate, private use, unassigned
_HIDDEN = ("Cc", "Cs", "Co", "Cn")
# Characters that change the writing direction of the text around them
_DIRECTION_MARKS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True)
class Cell:
    """The value of a metric for one variant and its threshold; `passed` is None if the gate has no such metric."""

    value: str
    gate: str
    passed: bool | None


@dataclass(frozen=True)
class MetricRow:
    """A row of the table of metrics; `name` is the name in the manifest, `cells` has one cell per variant."""

    label: str
    name: str
    cells: list[Cell]


@dataclass(frozen=True)
class Tile:
    """A box of the report with a number in large type, and below it a label and a detail."""

    value: str
    label: str
    detail: str


@dataclass(frozen=True)
class Plot:
    """A drawing with its title and an explanation."""

    title: str
    note: str
    svg: Markup

    @classmethod
    def of(cls, title: str, note: str, svg: str) -> Plot:
        """Create a plot from an SVG element, which the template does not escape."""
        return cls(title, note, Markup(svg))


def write_page(package: str, family: Family, parity: Parity, manifest: Manifest, path: Path, **parts: Any) -> None:
    """Render the template report.html.j2 of a package and write the page to `path` atomically.

    The page is self-contained. All values are HTML-escaped, except the drawings.

    :param package: the package with the template, which extends page.html.j2.
    :param manifest: the manifest of the same build.
    :param parts: more variables of the template: `tiles`, `plots` and those of the family.
    """
    names = list(parity.comparisons)
    quantized = {name: manifest.variants[name].quantization for name in names}
    page = (
        _environment()
        .from_string(_template(REPORT_TEMPLATE, package))
        .render(
            manifest=manifest,
            facts=family.facts(manifest),
            metrics=metric_groups(family.metrics, parity, manifest),
            parity=parity,
            names=names,
            colors=drawing.variant_colors(names),
            quantized=quantized,
            exact=EXACT,
            **parts,
        )
    )
    _write_atomically(page, path)


def metric_groups(metrics: Sequence[Metric], parity: Parity, manifest: Manifest) -> dict[str, list[MetricRow]]:
    """Return the rows of the table of metrics, by group; metrics that were not measured have no row."""
    measured = {name for comparison in parity.comparisons.values() for name in comparison.metrics}
    groups: dict[str, list[MetricRow]] = {}
    for metric in metrics_among(metrics, measured):
        cells = [_cell(parity, manifest, variant, metric) for variant in parity.comparisons]
        groups.setdefault(metric.group, []).append(MetricRow(metric.label, metric.name, cells))
    return groups


def _cell(parity: Parity, manifest: Manifest, variant: str, metric: Metric) -> Cell:
    figures, gate = parity.comparisons[variant].metrics, manifest.variants[variant].gate
    if metric.name not in figures:
        return Cell("–", "", None)
    value = f"{figures[metric.name]:.1%}" if metric.is_share else figure(figures[metric.name])
    threshold = metric.threshold(gate)
    if threshold is None:
        return Cell(value, "", None)
    shown = f"{threshold:.1%}" if metric.is_share else _threshold(threshold)
    bound = f"{'≤' if metric.is_upper_bound else '≥'} {shown}"
    return Cell(value, bound, not gate_misses([metric], figures, gate))


def ratio_tiles(name: str, manifest: Manifest, speeds: Mapping[str, float], unit: str) -> list[Tile]:
    """Return tiles with a variant's size relative to fp32 and its speed relative to the original, if known.

    :param name: the variant.
    :param speeds: units per second, by variant and for `original`.
    :param unit: the unit of the speeds, such as `texts`.
    """
    tiles = []
    sizes = {variant: manifest.variant_bytes(variant) for variant in manifest.variants}
    if name != EXACT and sizes.get(name) and EXACT in sizes:
        detail = f"{size_text(sizes[name])} instead of {size_text(sizes[EXACT])}"
        tiles.append(Tile(f"{sizes[EXACT] / sizes[name]:.1f}×", f"{name} smaller than {EXACT}", detail))
    if speeds.get(name) and speeds.get(drawing.ORIGINAL):
        detail = f"{speed_text(speeds[name])} {unit}/s instead of {speed_text(speeds[drawing.ORIGINAL])}"
        tiles.append(
            Tile(f"{speeds[name] / speeds[drawing.ORIGINAL]:.1f}×", f"{name} speed relative to the original", detail)
        )
    return tiles


def size_speed_plot(
    manifest: Manifest, names: Sequence[str], speeds: Mapping[str, float], unit: str, note: str
) -> Plot:
    """Return a bar chart of the size and the speed of every variant; `speeds` are in `unit` per second."""
    colors = drawing.variant_colors(names)
    sizes = {name: manifest.variant_bytes(name) for name in manifest.variants if name in colors}
    whole, base = sizes.get(EXACT), speeds.get(drawing.ORIGINAL)
    shares = {name: f" · {size / whole:.0%}" for name, size in sizes.items() if whole and name != EXACT}
    panels = {
        "size of graphs and weights": [
            drawing.Bar(name, colors[name], size, size_text(size) + shares.get(name, ""))
            for name, size in sizes.items()
        ]
    }
    bars = [
        drawing.Bar(
            name,
            colors.get(name, drawing.ORIGINAL),
            speed,
            speed_text(speed) + (f" · {speed / base:.1f}×" if base and name in colors else ""),
        )
        for name in (drawing.ORIGINAL, *colors)
        if (speed := speeds.get(name))
    ]
    panels |= {f"speed, {unit} per second": bars} if bars else {}
    return Plot.of("Size and speed", note, drawing.plot_bars(panels, "cost", "Bars of size and speed by variant"))


def layer_plots(manifest: Manifest, names: Sequence[str]) -> list[Plot]:
    """Return a plot of the quantization noise for every variant with quantized products."""
    drawn = []
    for name, color in drawing.variant_colors(names).items():
        quantization = manifest.variants[name].quantization
        if quantization is None or not quantization.layers:
            continue
        layers = quantization.layers
        # Canonical JSON sorts the products by name: the numbers in the names restore their order in the graph
        if list(layers) == sorted(layers):
            layers = {key: layers[key] for key in sorted(layers, key=_by_numbers)}
        svg = drawing.plot_layers(layers, color, f"layers-{name}", f"Signal-to-noise ratio of every product of {name}")
        note = "At 40 dB the noise is 1 % of the signal; higher is better."
        drawn.append(Plot.of(f"{name}: quantization noise by product", note, svg))
    return drawn


def figure(value: float) -> str:
    """Format a metric: six decimals, or a power of ten for a small value or a small difference from 1."""
    if not math.isfinite(value) or value == int(value):
        return f"{value:g}"
    if 0 < abs(1 - value) < 5e-7:
        return f"1 {'−' if value < 1 else '+'} {drawing.scientific(abs(1 - value), 1)}"
    return drawing.scientific(value) if 0 < value < 1e-3 else f"{value:.6f}"


def _threshold(value: float) -> str:
    return drawing.scientific(value) if 0 < value < 1e-3 else f"{value:g}"


def share(value: float) -> str:
    """Format a share as a percentage; only the exact value 1 becomes 100%."""
    return "100%" if value == 1 else f"{min(value, 0.9999):.2%}"


def visible(text: str) -> str:
    """Replace control characters by visible symbols, and whitespace too if the text has no visible character."""
    if not text:
        return "(empty)"
    if not any(character.isprintable() and not character.isspace() for character in text):
        return "".join(_MARKS.get(character, f"[U+{ord(character):04X}]") for character in text)
    return controls_shown(text)


def flowing(text: str) -> str:
    """Format a part of a text without line breaks: replace newlines, tabs and control characters by symbols."""
    if text and not text.strip(" "):
        return text
    if text and not any(character.isprintable() and not character.isspace() for character in text):
        return visible(text)
    return "".join(_LINE_ENDS.get(character) or character for character in controls_shown(text))


def controls_shown(text: str) -> str:
    """Replace control characters and direction marks by their code points."""
    return "".join(f"[U+{ord(character):04X}]" if _is_control(character) else character for character in text)


def _is_control(character: str) -> bool:
    is_hidden = unicodedata.category(character) in _HIDDEN and character not in "\n\r\t"
    return is_hidden or character in _DIRECTION_MARKS


def size_text(size: float) -> str:
    """Format a size in bytes in decimal units, such as 22.9 MB."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.{0 if unit == 'bytes' else 1}f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def speed_text(speed: float) -> str:
    """Format a speed with at least three significant digits, such as 77.5, 351 or 1,234."""
    return f"{speed:,.0f}" if speed >= 100 else f"{speed:.3g}"


def _by_numbers(name: str) -> list[tuple[int, str]]:
    """Return a sort key that compares numbers in names by value, so that MatMul_9 precedes MatMul_10."""
    parts = "".join(character if character.isdecimal() else f" {character} " for character in name).split()
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": figure, "flowing": flowing, "median": _median, "share": share, "visible": visible}
    return environment


def _median(values: Sequence[float]) -> float:
    return float(np.median(list(values)))


def _template(name: str, package: str = __package__) -> str:
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")


def _write_atomically(page: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as file:
        file.write(page.encode())

r"""Measure the memory that models use and give back, in processes of Python and Rust.

    python -m benchmarks.recipes.long_encoder --out DIR
    python -m benchmarks.memory --artifact dist/all-minilm-l6-v2 --artifacts dist --long DIR \
        --rust bridge/target/release/examples/memory

- batch: the vectors of a text of 8,192 tokens and of its first 5,000 that the graph returns for both in a batch, with
  padding, compared with those for each alone; for each model of the recipe and both variants. The runtimes run texts of
  this length one by one.
- long text: the peak of the resident memory during one text of 8,192 tokens, and what is left of it after a short text,
  both compared with the memory of the loaded model; for each model of the recipe and both variants. What is left does
  not include the pages of files. fp32 vectors are compared with those of the original.
- limit: six models share a limit that holds three, and 4 threads call them at random; the growth of the resident memory
  in comparison with the limit. All answers must be right.
- cycles: every model of a folder is loaded, called and unloaded again and again; the part of the memory of a load that
  the unload gives back, the median from the second cycle on, and the growth from the second cycle to the last.

The exit status is 1 if a target is missed. Linux only.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from onnx_ml_bridge.artifacts.constants import graph_file
from rich.console import Console
from rich.table import Table

from ..console import print_machine, wide_console
from ..corpora.composed_texts import composed_texts
from ..environment import child_environment
from ..inputs import write_bridge
from ..recipes.building import MODEL
from ..recipes.long_encoder import ARCHITECTURES, artifact_of

_SEED = 20261126
_MIB = 1 << 20
# The words of the long text, of one token each; with the two special tokens there are 8,192
_WORDS, _LONG_WORDS = (
    ["the", "old", "house", "by", "river", "has", "a", "small", "garden", "with", "two", "tall", "trees"],
    8190,
)
_TEXTS, _MODELS, _FITS, _CALLERS = 64, 6, 3, 4
# Targets: memory after a long text and growth under a limit, as shares of the loaded model and of the limit, at most;
# the memory that an unload gives back, as a share, at least; the growth of all cycles in bytes, at most.
_MAX_AFTER, _MAX_GROWN, _MIN_BACK, _MAX_GROWTH = 1.2, 1.1, 0.9, 5 * _MIB
# Targets of a long text: the memory of its run in bytes, and the differences of its vector from the original's, and of
# that in a batch from that alone.
_MAX_RUN, _MAX_DIFFERENCE, _MAX_BATCH = 1e9, 1e-5, 1e-6


@dataclass(frozen=True)
class Line:
    """One figure, its target, and whether it is met."""

    what: str
    figure: str
    target: str
    is_met: bool


@dataclass(frozen=True)
class Measure:
    """The parameters of one measured process, and the function that makes figures of its sizes."""

    name: str
    config: dict[str, Any]
    lines: Callable[[dict[str, Any]], list[Line]]


def long_lines(found: dict[str, Any], expected: Sequence[float] | None = None) -> list[Line]:
    """Return the figures of the measure `long`; `expected` is the original's vector, if they are compared."""
    what, run = f"text of {found['tokens']} tokens", found["peak"] - found["loaded"]
    loaded, after = found["loaded"], found["loaded"] + found["after"] - found["before"]
    sizes, share = f"{_mib(loaded)} → {_mib(after)} MiB, {after / loaded:.2f} times", after / loaded
    lines = [
        Line(f"{what}: peak", f"{_mib(run)} MiB above the model", f"at most {_mib(_MAX_RUN)} MiB", run <= _MAX_RUN),
        Line(f"{what}: after", sizes, f"at most {_MAX_AFTER} times", share <= _MAX_AFTER),
    ]
    if expected is not None:
        difference = max(abs(a - b) for a, b in zip(found["vector"], expected, strict=True))
        target = f"at most {_MAX_DIFFERENCE:g}"
        lines.append(Line(f"{what}: original", f"{difference:.1e}", target, difference <= _MAX_DIFFERENCE))
    return lines


def batch_lines(found: dict[str, Any]) -> list[Line]:
    """Return the figures of the measure `batch`."""
    target, pairs = f"at most {_MAX_BATCH:g}", zip(found["tokens"], found["differences"], strict=True)
    return [Line(f"text of {tokens} tokens", f"{each:.1e}", target, each <= _MAX_BATCH) for tokens, each in pairs]


def limit_lines(found: dict[str, Any]) -> list[Line]:
    """Return the figures of the measure `limit`."""
    share, wrong = found["grown"] / found["limit"], found["calls"] - found["right"]
    sizes = f"{_mib(found['grown'])} of {_mib(found['limit'])} MiB, {share:.2f} times; {_mib(found['each'])} MiB each"
    return [
        Line("limit: growth", sizes, f"at most {_MAX_GROWN} times", share <= _MAX_GROWN),
        Line("limit: wrong answers", f"{wrong} of {found['calls']}", "0", wrong == 0),
    ]


def cycle_lines(found: dict[str, Any]) -> list[Line]:
    """Return the figures of the measure `cycles`."""
    lines = []
    for name, cycles in found.items():
        back = statistics.median((loaded - after) / max(loaded - before, 1) for before, loaded, after in cycles[1:])
        growth = cycles[-1][2] - cycles[1][2]
        lines.append(Line(f"{name}: given back", f"{back:.1%}", f"at least {_MIN_BACK:.0%}", back >= _MIN_BACK))
        lines.append(
            Line(f"{name}: growth", f"{growth / _MIB:.1f} MiB", f"under {_mib(_MAX_GROWTH)} MiB", growth < _MAX_GROWTH)
        )
    return lines


def _mib(size: float) -> str:
    return f"{size / _MIB:.0f}"


def measures(options: argparse.Namespace, folder: Path, text: Path) -> list[Measure]:
    """Return the measures of a language that the options select; `text` is the file of the long text."""
    bridge = folder / "bridge.toml"
    write_bridge(options.artifacts, bridge)
    limit = {"models": _MODELS, "fits": _FITS, "calls": options.calls, "callers": _CALLERS, "seed": _SEED}
    limit |= {"measure": "limit", "path": str(options.artifact.resolve()), "texts": composed_texts(_TEXTS)}
    cycles = {"measure": "cycles", "bridge": str(bridge), "cycles": options.cycles}
    long = [measure for name in ARCHITECTURES for measure in _long_measures(options.long / name, name, text)]
    return [*long, Measure("limit", limit, limit_lines), Measure("cycles", cycles, cycle_lines)]


def _long_measures(folder: Path, name: str, text: Path) -> list[Measure]:
    """Return the measures of a long text for the artifact of a recipe in `folder`."""
    command = [sys.executable, "-m", "benchmarks.memory.original", str(folder / MODEL), str(text)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=child_environment())
    lines = {"fp32": partial(long_lines, expected=json.loads(done.stdout)), "int8": long_lines}
    config = {"measure": "long", "path": str(artifact_of(folder.parent, name).resolve()), "text": str(text)}
    return [Measure(f"{name} {variant}", {**config, "variant": variant}, lines[variant]) for variant in lines]


def batch_measures(folder: Path, text: Path) -> list[Measure]:
    """Return the measures of the graphs of the recipe in `folder`."""
    config = {"measure": "batch", "text": str(text)}
    return [
        Measure(f"{name} {variant}", {**config, "path": str(graph)}, batch_lines)
        for name in ARCHITECTURES
        for variant in ("fp32", "int8")
        for graph in [artifact_of(folder, name).resolve() / graph_file("model", variant)]
    ]


def run(command: Sequence[str], measure: Measure) -> list[Line]:
    """Run one measure in a process of its own.

    :raises subprocess.CalledProcessError: if the process fails.
    """
    line = [*command, json.dumps(measure.config)]
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True, env=child_environment())
    return measure.lines(json.loads(done.stdout))


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifact", type=Path, required=True, metavar="DIR", help="an embedding model, for the limit")
    parser.add_argument("--artifacts", type=Path, required=True, metavar="DIR", help="a folder of models, for cycles")
    parser.add_argument("--long", type=Path, required=True, metavar="DIR", help="the folder of the recipe")
    parser.add_argument("--rust", type=Path, metavar="BINARY", help="the example `memory` of the crate")
    parser.add_argument("--calls", type=int, default=2000, metavar="N", help="calls under the limit")
    parser.add_argument("--cycles", type=int, default=50, metavar="N")
    options = parser.parse_args()
    worker = [sys.executable, "-m", "benchmarks.memory.worker"]
    commands = {"Python": worker}
    if options.rust is not None:
        commands["Rust"] = [str(options.rust)]
    console = wide_console()
    print_machine(console)
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        text.write_text(" ".join(random.Random(_SEED).choices(_WORDS, k=_LONG_WORDS)), encoding="utf-8")
        graphs = _report(console, "Graphs, in a batch and alone", worker, batch_measures(options.long, text))
        selected = measures(options, Path(folder), text)
        status = max([graphs, *(_report(console, name, command, selected) for name, command in commands.items())])
    sys.exit(status)


def _report(console: Console, name: str, command: Sequence[str], measures: Sequence[Measure]) -> int:
    """Print the table of a language; return 1 if a target is missed."""
    table, is_met = Table("", "", "figure", "target", "", title=name, title_justify="left"), True
    for measure in measures:
        for line in run(command, measure):
            table.add_row(measure.name, line.what, line.figure, line.target, "met" if line.is_met else "missed")
            is_met = is_met and line.is_met
    console.print(table)
    return int(not is_met)


if __name__ == "__main__":
    main()

r"""Measure an embedding model under load: a single text beside a bulk call, and many callers of single texts.

    python -m benchmarks.load --artifact dist/all-minilm-l6-v2
    python -m benchmarks.load --artifact dist/all-minilm-l6-v2 --python 0.1.0=old/bin/python \
        --rust bridge/target/release/examples/load

Each round measures every contender once, in a process of its own and in another order. All figures are ratios within
one round, of which the median is shown. The Rust contender is the example `load` of the crate, with texts of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from onnx_ml_bridge.artifacts.checks import read_artifact
from onnx_ml_bridge.artifacts.manifest_sections import TokenizerSpec
from onnx_ml_bridge.runtime.batching import DEFAULT_TOKEN_BUDGET, plan_batches
from onnx_ml_bridge.runtime.tokenizer import TextTokenizer
from rich.table import Table

from .console import print_machine, wide_console
from .corpora.composed_texts import composed_texts
from .environment import child_environment
from .harness import round_order
from .inputs import write_texts
from .load_worker import Load, LoadFigures

_WORKER = Path(__file__).with_name("load_worker.py")
# The targets: p99 of a single text beside a bulk call in runs, and p99 of concurrent callers in medians, at most; the
# rate of concurrent callers as a share of that of a bulk call, at least.
_MAX_WAIT, _MAX_SPREAD = 3.0, 3.0
_MIN_SHARE = {"Python": 0.8, "Rust": 0.9}


@dataclass(frozen=True)
class LoadContender:
    """A release that is measured; `command` comes before the arguments of the worker."""

    name: str
    language: str
    command: tuple[str, ...]
    workers: int | None = None

    def measure(self, artifact: Path, variant: str, file: Path, load: Load) -> LoadFigures:
        """Measure the contender in a process of its own.

        :raises subprocess.CalledProcessError: if the process fails.
        """
        options = [str(file), json.dumps(asdict(load) | {"workers": self.workers})]
        if self.language == "Rust":
            options = [str(load.texts), *([] if self.workers is None else [str(self.workers)])]
        line = [*self.command, str(artifact), variant, *options]
        done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True, env=child_environment())
        found = json.loads(done.stdout)
        return figures_of_rust(found) if self.language == "Rust" else LoadFigures(**found)


def figures_of_rust(found: dict[str, Any]) -> LoadFigures:
    """Return the figures that the example `load` of the crate prints."""

    def times(name: str) -> list[float]:
        return [found[name][key] for key in ("p50", "p99", "max")]

    return LoadFigures(
        run_ms=found["one_run_ms"]["p50"],
        bulk_rate=found["texts"] / found["bulk_s"],
        single_ms=times("single_beside_bulk_ms"),
        beside_rate=found["texts"] / found["bulk_beside_singles_s"],
        caller_ms=times("callers_ms"),
        caller_share=found["callers_over_bulk"],
        threads=None,
    )


def contenders(pythons: Sequence[str], binaries: Sequence[str]) -> list[LoadContender]:
    """Return this release with one and with two workers, and the releases of the command line."""
    own = (sys.executable, str(_WORKER))
    return [
        LoadContender("Python, 1 worker", "Python", own, 1),
        LoadContender("Python, 2 workers", "Python", own, 2),
        *(
            LoadContender(f"Python ({label})", "Python", (path, str(_WORKER)))
            for label, _, path in (each.partition("=") for each in pythons)
        ),
        *(
            LoadContender(f"Rust ({label})" if label else "Rust", "Rust", (path,))
            for label, _, path in (each.rpartition("=") for each in binaries)
        ),
    ]


def runs_of_bulk(artifact: Path, texts: Sequence[str]) -> int:
    """Return the number of runs of a call for all texts."""
    opened = read_artifact(artifact)
    spec = opened.manifest.section(TokenizerSpec)
    lengths = [len(tokens.ids) for tokens in TextTokenizer(opened.path(spec.file), spec).encode(texts)]
    return len(list(plan_batches(lengths, DEFAULT_TOKEN_BUDGET)))


def row(contender: LoadContender, rounds: Sequence[LoadFigures], reference: Sequence[LoadFigures]) -> list[str]:
    """Return the cells of a contender: medians of ratios within each round.

    :param reference: the figures of the first contender, to which the bulk rate is compared.
    """
    share = [each.caller_share for each in rounds]
    wait = [each.single_ms[1] / each.run_ms for each in rounds]
    spread = [each.caller_ms[1] / each.caller_ms[0] for each in rounds]
    bulk = [each.bulk_rate / first.bulk_rate for each, first in zip(rounds, reference, strict=True)]
    return [
        contender.name,
        f"{statistics.median(each.run_ms for each in rounds):.1f}",
        f"{statistics.median(each.single_ms[0] for each in rounds):.1f}",
        _with_target(statistics.median(wait), _MAX_WAIT, is_maximum=True),
        f"{statistics.median(each.beside_rate / each.bulk_rate for each in rounds):.2f}",
        _with_target(statistics.median(share), _MIN_SHARE[contender.language], is_maximum=False),
        _with_target(statistics.median(spread), _MAX_SPREAD, is_maximum=True),
        f"{statistics.median(bulk):.3f}" if contender.language == "Python" else "",
        str(max(each.threads or 0 for each in rounds) or ""),
    ]


_COLUMNS = (
    "",
    "one run, ms",
    "single beside bulk, p50 ms",
    "p99, runs",
    "bulk beside singles / alone",
    "callers / bulk, texts/s",
    "callers, p99 / p50",
    "bulk / first row",
    "threads",
)


def _with_target(value: float, target: float, *, is_maximum: bool) -> str:
    met = value <= target if is_maximum else value >= target
    return f"{value:.2f} {'met' if met else 'missed'}"


def main() -> None:
    """Run the command."""
    options = _parser().parse_args()
    found, texts = contenders(options.python, options.rust), composed_texts(options.texts)
    load = Load(len(texts), runs_of_bulk(options.artifact, texts), None, options.callers, options.seconds)
    console = wide_console()
    print_machine(console)
    title = f"{options.artifact.name} {options.variant}, {len(texts)} texts, {options.callers} callers"
    table = Table(*_COLUMNS, title=title)
    figures: dict[str, list[LoadFigures]] = {each.name: [] for each in found}
    with tempfile.TemporaryDirectory() as folder:
        file = write_texts(Path(folder) / "texts.jsonl", texts)
        for number in range(1, options.rounds + 1):
            for each in round_order(found, number):
                console.print(f"round {number} of {options.rounds}, {each.name}", style="dim", markup=False)
                figures[each.name].append(each.measure(options.artifact, options.variant, file, load))
    for each in found:
        table.add_row(*row(each, figures[each.name], figures[found[0].name]))
    console.print(table)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifact", type=Path, required=True, metavar="DIR")
    parser.add_argument("--variant", default="int8", metavar="NAME")
    parser.add_argument("--python", action="append", default=[], metavar="LABEL=INTERPRETER", help="an earlier release")
    parser.add_argument("--rust", action="append", default=[], metavar="[LABEL=]BINARY", help="the example `load`")
    parser.add_argument("--texts", type=int, default=2048, metavar="N", help="texts of the bulk call")
    parser.add_argument("--callers", type=int, default=64, metavar="N")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="duration of the concurrent callers")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    return parser


if __name__ == "__main__":
    main()

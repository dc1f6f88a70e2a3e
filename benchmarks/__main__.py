"""Measure this project, the originals and other libraries in one run on one machine.

The command prints tables and writes TASK.json, TASK.png and TASK.svg. The exit status is 0 even if a target is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from onnx_ml_bridge.artifacts.errors import OnnxMlBridgeError
from rich.console import Console

from . import markdown
from .conditions import describe
from .console import print_results, wide_console
from .contenders import Releases, Unavailable
from .corpora.documents import TooFewTexts
from .harness import Harness
from .machine import RealMachine
from .results import Results, load, save
from .tasks import TASKS, task_module
from .workload import Request

_RESULTS = Path("benchmarks/results")
_DOCUMENT = Path("docs/benchmarks.md")
_EXAMPLES = """examples:
  python -m benchmarks sentence_embedding --artifact dist/all-minilm-l6-v2 --rust bridge/target/release/onnx-ml-bridge
  python -m benchmarks ner --artifact dist/en-core-web-sm --no-peers --rounds 15 \\
      --python OLD=/path/to/python --rust OLD=/path/to/onnx-ml-bridge --rust bridge/target/release/onnx-ml-bridge
  python -m benchmarks docs"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    options = _parser().parse_args(arguments)
    console = wide_console()
    try:
        if options.task == "docs":
            _write_docs(options.results, options.document, console)
        else:
            _measure(options, console)
    except (OnnxMlBridgeError, TooFewTexts, Unavailable, markdown.NoMarkers) as error:
        raise SystemExit(f"error: {error}") from error


def _measure(options: argparse.Namespace, console: Console) -> None:
    """Measure a task, then save and print the results."""
    task, releases = task_module(options.task), _releases(options)
    with tempfile.TemporaryDirectory() as scratch:
        request = _request(options, releases, Path(scratch))
        harness = Harness(
            RealMachine(Path(scratch)),
            options.rounds,
            options.fresh_rounds,
            lambda line: console.print(line, style="dim", markup=False),
        )
        workloads = tuple(harness.measure(workload) for workload in task.prepare(request))
        conditions = describe(harness, (options.rounds, options.fresh_rounds), task.LIBRARIES, releases)
    results = Results(options.task, task.TITLE, conditions, workloads)
    _save(results, options.out)
    print_results(results, console)


def _save(results: Results, folder: Path) -> None:
    from . import plot  # imports matplotlib, which neither --help nor docs need

    folder.mkdir(parents=True, exist_ok=True)
    save(results, folder / f"{results.task}.json")
    plot.draw(results, folder)


def _write_docs(folder: Path, document: Path, console: Console) -> None:
    """Update the tables of every task that has results."""
    for path in (folder / f"{task}.json" for task in TASKS):
        if path.is_file():
            markdown.update(document, load(path))
            console.print(f"{document.name}: tables from {path.name}")


def _request(options: argparse.Namespace, releases: Releases, scratch: Path) -> Request:
    return Request(
        artifacts=tuple(options.artifact),
        scratch=scratch,
        rounds=options.rounds,
        originals=dict(options.original),
        releases=releases,
        peers=options.peers,
        texts=options.texts,
        options=vars(options),
    )


def _releases(options: argparse.Namespace) -> Releases:
    # The links to interpreters are not resolved, because they select the virtual environment
    pythons = {label: str(Path(path).absolute()) for label, path in options.python}
    return Releases({"": sys.executable} | pythons, dict(options.rust))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    tasks = parser.add_subparsers(dest="task", required=True, metavar="TASK")
    for name in TASKS:
        module = task_module(name)
        task = tasks.add_parser(name, help=f"measure {module.TITLE.lower()}", description=module.__doc__)
        _add_options(task)
        module.add_options(task)
    docs = tasks.add_parser("docs", help="write the tables of earlier runs to the documentation")
    docs.add_argument("--results", type=Path, default=_RESULTS, metavar="DIR", help="default: %(default)s")
    docs.add_argument("--document", type=Path, default=_DOCUMENT, metavar="FILE", help="default: %(default)s")
    return parser


def _add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that all tasks share."""
    add = parser.add_argument
    add("--artifact", type=Path, nargs="+", required=True, metavar="DIR", help="folders of the artifacts to measure")
    add(
        "--original",
        type=_named,
        action="append",
        default=[],
        metavar="NAME=SOURCE",
        help="the original of the artifact NAME, as in models.toml (default: the source that its manifest names)",
    )
    add(
        "--rust",
        type=_release,
        action="append",
        default=[],
        metavar="[LABEL=]BINARY",
        help="the crate's command, a release build; with a LABEL that of an earlier release",
    )
    add(
        "--python",
        type=_named,
        action="append",
        default=[],
        metavar="LABEL=INTERPRETER",
        help="a Python interpreter with an earlier release installed, measured beside this one",
    )
    add("--no-peers", dest="peers", action="store_false", help="measure this project alone")
    add("--rounds", type=_positive, default=5, metavar="N", help="rounds of speed (default: %(default)s)")
    add(
        "--fresh-rounds",
        type=_positive,
        default=5,
        metavar="N",
        help="rounds of starts and memory (default: %(default)s)",
    )
    add("--texts", type=_positive, metavar="N", help="number of texts (default: the task's own)")
    add("--out", type=Path, default=_RESULTS, metavar="DIR", help="folder of results and plot (default: %(default)s)")


def _named(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name or not value:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    return name, value


def _release(text: str) -> tuple[str, str]:
    """Parse `LABEL=PATH` or `PATH` to a label and an absolute path; the empty label is this release."""
    label, separator, path = text.partition("=")
    if not separator or "/" in label:
        label, path = "", text
    if not Path(path).is_file():
        raise argparse.ArgumentTypeError(f"no file {path}")
    return label, str(Path(path).resolve())


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, got {text!r}")
    return int(text)


if __name__ == "__main__":
    main()

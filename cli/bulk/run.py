"""Run the parts of a file in this process, and resume what is missing."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..console import EXIT_FAILED, EXIT_STOPPED, err
from .files import only_writer, remove_temporary
from .part import failed_rows, part_path, process_part
from .source import Contents, open_source, read_contents
from .state import COMPLETE, STOPPED, State, begin, write
from .task import OpenRows, RowSettings, RowTask

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True)
class BulkOptions:
    """The options of a run over a file.

    `part_rows` is the number of rows of a part. `ray` is the address of a Ray cluster; None runs the parts in this
    process. `ray_workers` is the number of processes of the cluster that hold the model; None uses all its processors
    but one.
    """

    source: Path
    output: Path
    part_rows: int
    resume: bool = False
    ray: str | None = None
    ray_workers: int | None = None


@dataclass(frozen=True)
class Run:
    """A run whose state is written: what it needs to process a part.

    `settings` has the variant and the version that were chosen here, so that other machines do not choose others.
    """

    open_rows: OpenRows
    settings: RowSettings
    contents: Contents
    output: Path
    keys: tuple[str, ...]

    def path(self, part: int) -> Path:
        """Return the path of a part."""
        return part_path(self.output, part, self.contents.path)

    def rows_of(self, part: int) -> int:
        """Return the number of rows of a part."""
        return min(self.contents.part_rows, self.contents.rows - part * self.contents.part_rows)


class StopSignal:
    """Set by SIGTERM and SIGINT in its context; a second signal ends the process as usual."""

    def __init__(self) -> None:
        """Start without a signal."""
        self.name: str | None = None

    @contextmanager
    def listening(self) -> Iterator[StopSignal]:
        """Handle the signals in this context."""
        before = {number: signal.signal(number, self._stop) for number in _SIGNALS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, _: FrameType | None) -> None:
        self.name = signal.Signals(number).name
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)


def run_bulk(command: str, open_rows: OpenRows, settings: RowSettings, options: BulkOptions) -> None:
    """Answer the rows of a file in parts; exit with `EXIT_FAILED` if a row failed, `EXIT_STOPPED` after a signal.

    :raises ConfigError: if the output folder has files of another run.
    :raises OnnxMlBridgeError: for an error of all rows. The parts that are finished stay.
    :raises OSError: if a file cannot be read or written.
    """
    with StopSignal().listening() as stop:
        options.output.mkdir(parents=True, exist_ok=True)
        with only_writer(options.output):
            task = open_rows(settings)
            contents = read_contents(options.source, options.part_rows)
            state = _state(command, task, settings, contents)
            begin(options.output, state, resume=options.resume)
            remove_temporary(options.output)
            run = Run(open_rows, settings.pinned_to(task.info), contents, options.output, task.keys)
            failed = _run_parts(run, _executor(run, task, options), stop)
            write(options.output, state, COMPLETE if failed is not None else STOPPED, failed)
    _report(run, failed, stop)


# Processes parts and yields the index of each with the number of its rows that failed
Executor = Callable[[Iterable[int]], Generator[tuple[int, int], None, None]]


def _executor(run: Run, task: RowTask[Any, Any], options: BulkOptions) -> Executor:
    if options.ray is not None:
        from .ray_cluster import ray_executor

        return ray_executor(run, options.ray, options.ray_workers)
    source = open_source(run.contents, run.keys)
    return lambda parts: ((part, process_part(task, source, run.contents, part, run.output)) for part in parts)


def _run_parts(run: Run, executor: Executor, stop: StopSignal) -> int | None:
    """Process the missing parts; returns the number of rows that failed, or None if a signal stopped the run."""
    missing: set[int] = set()
    failed = 0
    with _progress(run.contents.rows) as advance:
        for part in range(run.contents.parts):
            if run.path(part).exists():
                failed += failed_rows(run.path(part))
                advance(run.rows_of(part))
            else:
                missing.add(part)
        with closing(executor(sorted(missing))) as finished:
            while missing and stop.name is None:
                part, failed_in_part = next(finished)
                missing.remove(part)
                failed += failed_in_part
                advance(run.rows_of(part))
    return None if missing else failed


def _state(command: str, task: RowTask[Any, Any], settings: RowSettings, contents: Contents) -> State:
    return State(
        command=command,
        input_bytes=contents.bytes,
        input_sha256=contents.sha256,
        rows=contents.rows,
        part_rows=contents.part_rows,
        identity=task.info.identity,
        variant=task.info.variant,
        options=settings.pinned(),
    )


def _report(run: Run, failed: int | None, stop: StopSignal) -> None:
    """Print a summary to stderr, and exit with the status of the run."""
    contents = run.contents
    if failed is None:
        done = [part for part in range(contents.parts) if run.path(part).exists()]
        rows = sum(run.rows_of(part) for part in done)
        parts = _counted(len(done), "part")
        err.print(
            f"stopped by {stop.name}: {rows} of {contents.rows} rows are in {parts}; continue with --resume",
            soft_wrap=True,
        )
        raise typer.Exit(EXIT_STOPPED)
    counts = f"{_counted(contents.rows, 'row')} in {_counted(contents.parts, 'part')}"
    err.print(f"{counts}, {failed} failed", soft_wrap=True)
    if failed:
        raise typer.Exit(EXIT_FAILED)


def _counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as `1 part` or `2 parts`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@contextmanager
def _progress(rows: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar over rows if stderr is a terminal."""
    columns = (
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bars:
        bar = bars.add_task("", total=rows)
        yield lambda done: bars.advance(bar, done)

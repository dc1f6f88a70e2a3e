"""Runs the fp32 graph on calibration inputs and keeps what rounding and smoothing need to know of every activation."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..artifacts.errors import BuildError
from ..artifacts.manifest import Calibration
from ..runtime import cpu
from ..runtime.session import create_session
from .int8_scheme import Floats

Feeds = Mapping[str, NDArray[Any]]

# Rows kept of every input to measure the error of each product on.
_SAMPLE_ROWS_PER_INPUT = 8
_ROWS_PER_PRODUCT = 1024


class ActivationStats:
    """What was seen of one activation with `in` channels, over all rows of all calibration inputs.

    `absmax` `[in]` is the largest magnitude of each channel, `gram` `[in, in]` is `x.T @ x` in float64, `sample`
    `[n, in]` are some of the rows.
    """

    def __init__(self, channels: int) -> None:
        self.absmax: Floats = np.zeros(channels, np.float32)
        self._gram: Floats = np.zeros((channels, channels))
        self._sample: list[Floats] = []
        # Rows whose share of the Gram matrix is still to be added: a product of many rows costs little more than one of
        # few, and the matrix of a wide layer is large to pass over for every text.
        self._waiting: list[Floats] = []

    @property
    def gram(self) -> Floats:
        """`x.T @ x` of all rows so far."""
        if self._waiting:
            rows = np.concatenate(self._waiting)
            self._gram += rows.T @ rows
            self._waiting = []
        return self._gram

    @property
    def sample(self) -> Floats:
        """The kept rows, `[n, in]`."""
        return np.concatenate(self._sample)

    def add(self, x: Floats) -> None:
        """Take in an activation `[..., in]`."""
        flat = x.reshape(-1, x.shape[-1])
        np.maximum(self.absmax, np.abs(flat).max(0), out=self.absmax)
        self._waiting.append(flat)
        if sum(map(len, self._waiting)) >= _ROWS_PER_PRODUCT:
            _ = self.gram
        step = max(1, len(flat) // _SAMPLE_ROWS_PER_INPUT)
        self._sample.append(flat[::step][:_SAMPLE_ROWS_PER_INPUT].copy())

    def divide(self, scales: Floats) -> None:
        """Turn the statistics of `x` into those of `x / scales`."""
        self.absmax /= scales
        self._gram = self.gram / np.outer(scales, scales)
        self._sample = [rows / scales for rows in self._sample]


def observe(folder: Path, file: str, names: Sequence[str], inputs: Sequence[Feeds]) -> dict[str, ActivationStats]:
    """Run the graph `folder/file` on every input and gather statistics of the named values.

    Inputs should hold no padding: padded rows would count as much as real ones.
    """
    with probe(folder, file, names) as session:
        return _gather(session, names, inputs)


@contextmanager
def probe(folder: Path, file: str, names: Sequence[str]) -> Iterator[Any]:
    """A session of the graph `folder/file` that gives the named values beside its outputs."""
    path = folder / file.replace(".onnx", ".observed.onnx")
    model = ir.load(folder / file)
    values = {value.name: value for node in model.graph for value in node.outputs}
    outputs = {value.name for value in model.graph.outputs}
    model.graph.outputs.extend(values[name] for name in names if name not in outputs)
    try:
        ir.save(model, path)  # the weights stay where they are: both files refer to one data file
        yield create_session(path, cpu.usable_cpus())
    finally:
        path.unlink(missing_ok=True)


def _gather(session: Any, names: Sequence[str], inputs: Sequence[Feeds]) -> dict[str, ActivationStats]:
    stats: dict[str, ActivationStats] = {}
    for feeds in inputs:
        for name, x in zip(names, session.run(list(names), dict(feeds)), strict=True):
            if name not in stats:
                stats[name] = ActivationStats(x.shape[-1])
            stats[name].add(x)
    return stats


def read_calibration_texts(path: Path | None) -> list[str]:
    """One text a line from `path`, or the set that comes with the package."""
    source = path or resources.files(__package__).joinpath("calibration.txt")
    try:
        texts = [line for line in source.read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise BuildError("config", f"calibration texts {path}: {error}") from error
    if not texts:
        raise BuildError("config", f"calibration file {path} holds no text")
    return texts


def describe_calibration(texts: Sequence[str], tokens: int) -> Calibration:
    """The manifest's entry of a set of texts."""
    return Calibration(len(texts), tokens, hash_texts(texts))


def hash_texts(texts: Sequence[str]) -> str:
    """SHA-256 over the texts, each with a newline, in hexadecimal."""
    return hashlib.sha256("".join(f"{text}\n" for text in texts).encode()).hexdigest()

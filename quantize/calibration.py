"""Runs the fp32 graph on calibration inputs and gathers the statistics of activations that smoothing and GPTQ need."""

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

# The number of rows of each input that are kept to measure the error of each product.
_SAMPLE_ROWS_PER_INPUT = 8
# The number of rows that are collected before they are added to the Gram matrix. The matrix of a wide layer is large,
# and adding many rows to it costs little more than adding a few.
_ROWS_PER_UPDATE = 1024


class ActivationStats:
    """Statistics of one activation with `in` channels, over the rows of all calibration inputs.

    `absmax` `[in]` is the largest magnitude of each channel, `gram` `[in, in]` is `x.T @ x` in float64, `sample`
    `[n, in]` has some of the rows.
    """

    def __init__(self, channels: int) -> None:
        self.absmax: Floats = np.zeros(channels, np.float32)
        self._gram: Floats = np.zeros((channels, channels))
        self._sample: list[Floats] = []
        self._pending: list[Floats] = []  # rows that are not in `_gram` yet

    @property
    def gram(self) -> Floats:
        """The Gram matrix `x.T @ x` of all rows that were added so far, `[in, in]`."""
        if self._pending:
            rows = np.concatenate(self._pending)
            self._gram += rows.T @ rows
            self._pending = []
        return self._gram

    @property
    def sample(self) -> Floats:
        """The rows of the activation that are kept to measure errors, `[n, in]`."""
        return np.concatenate(self._sample)

    def add(self, x: Floats) -> None:
        """Update the statistics with the rows of an activation `[..., in]`."""
        flat = x.reshape(-1, x.shape[-1])
        np.maximum(self.absmax, np.abs(flat).max(0), out=self.absmax)
        self._pending.append(flat)
        if sum(map(len, self._pending)) >= _ROWS_PER_UPDATE:
            _ = self.gram
        step = max(1, len(flat) // _SAMPLE_ROWS_PER_INPUT)
        self._sample.append(flat[::step][:_SAMPLE_ROWS_PER_INPUT].copy())

    def divide(self, scales: Floats) -> None:
        """Convert the statistics of an activation `x` in place to the statistics of `x / scales`."""
        self.absmax /= scales
        self._gram = self.gram / np.outer(scales, scales)
        self._sample = [rows / scales for rows in self._sample]


def observe(folder: Path, file: str, names: Sequence[str], inputs: Sequence[Feeds]) -> dict[str, ActivationStats]:
    """Run the graph `folder/file` on every input and gather statistics of the named values.

    Inputs should have no padding: padded rows would count like any other.
    """
    with probe(folder, file, names) as session:
        return _gather(session, names, inputs)


@contextmanager
def probe(folder: Path, file: str, names: Sequence[str]) -> Iterator[Any]:
    """Open a session of the graph `folder/file` that has the named values as additional outputs."""
    path = folder / file.replace(".onnx", ".observed.onnx")
    model = ir.load(folder / file)
    values = {value.name: value for node in model.graph for value in node.outputs}
    outputs = {value.name for value in model.graph.outputs}
    model.graph.outputs.extend(values[name] for name in names if name not in outputs)
    try:
        ir.save(model, path)  # the weights are not copied: both files refer to the same data file
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
    """Read the calibration texts of a file, one per line; empty lines are skipped. The default is the package's file.

    :raises BuildError: with the code `config`, for a file that cannot be read or has no text.
    """
    source = path or resources.files(__package__).joinpath("calibration.txt")
    try:
        texts = [line for line in source.read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise BuildError("config", f"the calibration texts {path} cannot be read: {error}") from error
    if not texts:
        raise BuildError("config", f"the calibration file {path} has no text")
    return texts


def describe_calibration(texts: Sequence[str], tokens: int) -> Calibration:
    """Return the manifest's description of calibration texts; `tokens` is their total number of tokens."""
    return Calibration(len(texts), tokens, hash_texts(texts))


def hash_texts(texts: Sequence[str]) -> str:
    """Return the SHA-256 of the texts, each followed by a newline, in hexadecimal."""
    return hashlib.sha256("".join(f"{text}\n" for text in texts).encode()).hexdigest()

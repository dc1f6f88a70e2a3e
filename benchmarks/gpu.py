"""Measure a sentence embedding model on a GPU and on the CPU in one run: texts per second, and how much vectors differ.

The artifact has the variants fp32 and fp16. The rounds of all contenders alternate, so that a slow moment of the
machine does not favor one of them; the fastest round counts. With --rust, the Rust crate runs the same contenders after
that, in a process of its own each, with the library that ORT_DYLIB_PATH names. The last line is the result as JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx_ml_bridge import Embedder, Model
from onnx_ml_bridge.artifacts.checks import read_artifact
from onnx_ml_bridge.artifacts.golden import read_golden

# Tokens of a run, including padding: the runtime's default, which suits CPUs, and one that occupies a GPU
_RUN_TOKENS = (512, 16384)


@dataclass(frozen=True)
class Contender:
    """A variant on a device, and the maximum number of tokens of a run."""

    device: str
    variant: str
    run_tokens: int

    @property
    def name(self) -> str:
        """The contender as one line of the table names it."""
        return f"{self.device} {self.variant}, runs of {self.run_tokens} tokens"

    def open(self, artifact: Path) -> Embedder:
        """Open the model and load its graph."""
        embedder = Embedder.open(Model(artifact, variant=self.variant, device=self.device, run_tokens=self.run_tokens))
        embedder.warm_up()
        return embedder


@dataclass(frozen=True)
class Figures:
    """The speed of a contender, relative to the first one too, and its vectors compared with those of the first one."""

    name: str
    seconds: float
    texts_per_second: float
    ratio: float
    cosine_min: float
    max_abs: float
    providers: dict[str, int | None]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artifact", type=Path, required=True, help="folder of the artifact, with fp32 and fp16")
    parser.add_argument("--device", default="cuda", help="device to compare with the CPU")
    parser.add_argument("--texts", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rust", type=Path, help="the example `device` of the Rust crate")
    options = parser.parse_args(arguments)
    contenders = [Contender("cpu", "fp32", _RUN_TOKENS[0])]
    contenders += [Contender(options.device, variant, size) for size in _RUN_TOKENS for variant in ("fp32", "fp16")]
    texts = texts_of(options.artifact, options.texts)
    figures, reference = measure(options.artifact, contenders, texts, options.rounds)
    if options.rust:
        run = partial(measure_rust, options.rust, options.artifact, texts=texts, rounds=options.rounds)
        figures += [run(contender, reference=reference, seconds=figures[0].seconds) for contender in contenders]
    for each in figures:
        print(
            f"{each.name:46} {each.texts_per_second:9.0f} texts/s {each.ratio:6.1f}x  cosine min {each.cosine_min:.6f}"
            f"  max abs {each.max_abs:.1e}  {each.providers}"
        )
    print(json.dumps([asdict(each) for each in figures]))


def texts_of(artifact: Path, count: int) -> list[str]:
    """Return the inputs of the golden cases of an artifact, repeated up to `count` texts."""
    opened = read_artifact(artifact)
    cases = read_golden(opened.path(opened.manifest.golden.file), opened.family.case)
    return [cases[number % len(cases)].input for number in range(count)]


def measure(
    artifact: Path, contenders: Sequence[Contender], texts: Sequence[str], rounds: int
) -> tuple[list[Figures], NDArray[np.float32]]:
    """Embed the texts with all contenders in each round, compare them with the first one, and return its vectors."""
    embedders = [contender.open(artifact) for contender in contenders]
    vectors = [embedder.embed(texts).vectors for embedder in embedders]
    seconds = [min(times) for times in zip(*[_round(embedders, texts) for _ in range(rounds)], strict=True)]
    figures = [
        Figures(
            f"Python, {contender.name}",
            own,
            len(texts) / own,
            seconds[0] / own,
            *_compared(vectors[0], found),
            dict(embedder.info.providers),
        )
        for contender, own, found, embedder in zip(contenders, seconds, vectors, embedders, strict=True)
    ]
    return figures, vectors[0]


def measure_rust(
    program: Path,
    artifact: Path,
    contender: Contender,
    texts: Sequence[str],
    rounds: int,
    reference: NDArray[np.float32],
    seconds: float,
) -> Figures:
    """Embed the texts in Rust; ratio and vectors are relative to those of Python's first contender."""
    command = [program, artifact, contender.device, contender.variant, contender.run_tokens, rounds]
    ran = subprocess.run(
        [str(part) for part in command], input=json.dumps(texts), stdout=subprocess.PIPE, text=True, check=True
    )
    found = json.loads(ran.stdout)
    own = min(found["seconds"])
    compared = _compared(reference, np.array(found["vectors"], dtype=np.float32))
    return Figures(f"Rust, {contender.name}", own, len(texts) / own, seconds / own, *compared, found["providers"])


def _round(embedders: Sequence[Embedder], texts: Sequence[str]) -> list[float]:
    """Return the seconds that each model needs for all texts."""
    times = []
    for embedder in embedders:
        started = time.perf_counter()
        embedder.embed(texts)
        times.append(time.perf_counter() - started)
    return times


def _compared(expected: NDArray[np.float32], actual: NDArray[np.float32]) -> tuple[float, float]:
    """Return the lowest cosine of two vectors, and the largest difference of an element."""
    products = (expected * actual).sum(axis=1)
    norms = np.linalg.norm(expected, axis=1) * np.linalg.norm(actual, axis=1)
    return float((products / norms).min()), float(np.abs(expected - actual).max())


if __name__ == "__main__":
    main()

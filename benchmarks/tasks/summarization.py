"""Summaries side by side: transformers, CTranslate2 and ours, of the shape of distilbart-cnn-12-6, measured in one run.

python -m benchmarks.summaries --folder DIR [--rust BINARY] [--rounds 5]

DIR is what benchmarks/summarizer.py made. 1 and 6 texts of 400 tokens, 4 beams, 142 tokens out.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx_ml_bridge.artifacts.checks import read_artifact
from onnx_ml_bridge.runtime import cpu
from rich.table import Table

from .children import child_environment
from .conditions import today, versions
from .processes import JsonProcess
from .report import wide_console
from .summarizer import ARTIFACT, LENGTH, MODEL, step_weights
from .summary_worker import CTRANSLATE2, ORIGINAL, OURS

_BATCHES = (1, 6)
_TOKENS = 400
_LIBRARIES = ("transformers", "torch", "ctranslate2", "onnxruntime", "tokenizers", "numpy", "onnx-ml-bridge")
_RUST = "rust"
_COPY_BYTES = 1 << 28


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, save, print. Missed targets are no failure: the exit status is 0."""
    options = _parse(arguments)
    console = wide_console()
    artifact = next(path for path in (options.folder / ARTIFACT).iterdir() if not path.name.startswith("."))
    threads = min(2, cpu.usable_cpus())
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(options.folder / MODEL, artifact, options.rust, threads, Path(scratch))
        try:
            for number in range(options.rounds + 1):
                console.print("warm-up" if number == 0 else f"round {number} of {options.rounds}")
                bench.round(number)
        finally:
            bench.close()
    results = bench.results()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "summaries.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    console.print(_table(results))
    console.print(f"{results['machine']}, memcpy {results['bandwidth_gb_s']} GB/s; bytes: {results['bytes']}")
    for name, reason in results["missing"].items():
        console.print(f"{name} was not measured: {reason}", markup=False)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.summaries", description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="what benchmarks/summarizer.py made")
    parser.add_argument("--rust", type=Path, help="the crate's command onnx-ml-bridge, a release build")
    parser.add_argument("--rounds", type=int, default=5, help="times that everything is measured (default: 5)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="folder for the results")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds: at least 1")
    return options


class Bench:
    """Contenders that live on between rounds, and what was measured of them."""

    def __init__(self, model: Path, artifact: Path, rust: Path | None, threads: int, scratch: Path) -> None:
        self._artifact, self._rust, self._threads, self._scratch = artifact.resolve(), rust, threads, scratch
        self._texts = _texts(model)
        self._workers: dict[str, JsonProcess] = {}
        self._figures: dict[str, dict[str, list[float]]] = {}
        self._missing: dict[str, str] = {}
        folders = {ORIGINAL: model.resolve(), f"{OURS}:fp32": self._artifact, f"{OURS}:int8": self._artifact}
        if converted := self._convert(model):
            folders |= {f"{CTRANSLATE2}:float32": converted, f"{CTRANSLATE2}:int8": converted}
        for name, folder in folders.items():
            self._start(name, folder)

    def round(self, number: int) -> None:
        """Measure everyone once, beginning with another one each time; round 0 warms up those that live on."""
        names = [*self._workers, *([f"{_RUST}:fp32", f"{_RUST}:int8"] if self._rust and number else [])]
        start = number % len(names)
        for batch in _BATCHES:
            for name in names[start:] + names[:start]:
                texts = self._texts[:batch]
                found = self._rust_run(name, texts) if name.startswith(_RUST) else self._ask(name, texts)
                self._note(name, f"peak_bytes_{batch}", found["peak_bytes"])
                if number:
                    self._note(name, f"seconds_{batch}", found["seconds"])

    def results(self) -> dict[str, Any]:
        """Medians, conditions and ratios."""
        medians = {
            name: {key: statistics.median(values) for key, values in figures.items()}
            for name, figures in self._figures.items()
        }
        for name, figures in self._figures.items():  # a peak only grows: the first is that of its batch alone
            medians[name] |= {key: values[0] for key, values in figures.items() if key.startswith("peak")}
        manifest = read_artifact(self._artifact).manifest
        described = cpu.describe(self._threads)
        return {
            "date": today(),
            "machine": f"{described.cpu} ({', '.join(described.instruction_set)})",
            "threads": self._threads,
            "versions": versions(_LIBRARIES, self._rust),
            "tokens_in": _TOKENS,
            "tokens_out": LENGTH,
            "bandwidth_gb_s": round(_bandwidth() / 1e9, 2),
            "bytes": {name: manifest.variant_bytes(name) for name in manifest.variants},
            "medians": medians,
            "rounds": self._figures,
            "missing": self._missing,
        }

    def close(self) -> None:
        """End every process."""
        for worker in self._workers.values():
            worker.close()

    def _start(self, name: str, folder: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.summary_worker", name, str(folder), str(self._threads)]
        worker = JsonProcess(command, child_environment(self._threads), self._scratch / f"{len(self._workers)}.log")
        answer = worker.answer()
        if "unavailable" in answer:
            self._missing[name] = answer["unavailable"]
            worker.close()
            return
        self._workers[name] = worker
        self._note(name, "load_s", answer["load_s"])

    def _ask(self, name: str, texts: list[str]) -> dict[str, Any]:
        answer = self._workers[name].ask({"texts": texts})
        if name != ORIGINAL and min(answer["tokens"]) < LENGTH - 2:
            raise SystemExit(f"error: {name} generated {answer['tokens']} tokens, not {LENGTH}")
        return answer

    def _rust_run(self, name: str, texts: list[str]) -> dict[str, Any]:
        assert self._rust is not None  # round asks for it only then
        path = self._scratch / "texts.jsonl"
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
        settings = {
            "--model": self._artifact,
            "--variant": name.partition(":")[2],
            "--threads": self._threads,
            "--texts": path,
            "--batch": len(texts),
            "--rounds": 2,
        }
        command = [str(self._rust.resolve()), "bench", *(str(each) for pair in settings.items() for each in pair)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=child_environment(self._threads))
        found = json.loads(done.stdout)
        self._note(name, "load_s", found["load_s"])
        return {"seconds": found["seconds"][-1], "peak_bytes": found["peak_bytes"]}

    def _note(self, name: str, figure: str, value: float) -> None:
        self._figures.setdefault(name, {}).setdefault(figure, []).append(value)

    def _convert(self, model: Path) -> Path | None:
        """The model in CTranslate2's own format, or None where it cannot be had."""
        target = self._scratch / "ctranslate2"
        try:
            from ctranslate2.converters import TransformersConverter

            TransformersConverter(str(_with_whole_vocabulary(model, self._scratch / "source"))).convert(str(target))
        except Exception as error:
            self._missing[CTRANSLATE2] = f"{type(error).__name__}: {error}"
            return None
        for name in ("tokenizer.json", "generation_config.json"):
            shutil.copy(model / name, target / name)
        return target


def _with_whole_vocabulary(model: Path, folder: Path) -> Path:
    """The same model with a tokenizer that has a token for every id, as CTranslate2's converter wants it."""
    from transformers import AutoConfig, AutoTokenizer

    folder.mkdir()
    for file in model.iterdir():
        if not file.name.startswith("tokenizer"):
            (folder / file.name).symlink_to(file.resolve())
    tokenizer = AutoTokenizer.from_pretrained(model)
    missing = range(len(tokenizer), AutoConfig.from_pretrained(model).vocab_size)
    tokenizer.add_tokens([f"<unused {index}>" for index in missing])
    tokenizer.save_pretrained(folder)
    return folder


def _texts(model: Path) -> list[str]:
    """Six texts of exactly 400 tokens, special ones included."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    words = sorted(word for word in tokenizer.get_vocab() if word.startswith("\u0120") and word[1:].isalpha())
    source = random.Random(20260701)
    found = []
    for _ in range(max(_BATCHES)):
        chosen = [source.choice(words)[1:] for _ in range(_TOKENS)]
        while len(tokenizer.encode(" ".join(chosen)).ids) > _TOKENS:
            chosen.pop()
        found.append(" ".join(chosen))
    return found


def _bandwidth() -> float:
    """Bytes per second that one thread copies from one large array to another, the fastest of several times."""
    array = np.ones(_COPY_BYTES // 4, np.float32)
    target = np.empty_like(array)
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        np.copyto(target, array)
        best = min(best, time.perf_counter() - started)
    return _COPY_BYTES / best


def _step_bytes(contender: str) -> int:
    return step_weights() * (1 if contender.endswith("int8") else 4)


def _table(results: dict[str, Any]) -> Table:
    table = Table("contender", title=f"{_TOKENS} tokens in, {LENGTH} out, 4 beams, {results['threads']} threads")
    titles = ("load s", "1 text s", "ms/step", "weights ms", "6 texts s", "peak MB, 1", "peak MB, 6")
    for title in titles:  # "weights": the time to read those of a step once
        table.add_column(title, justify="right")
    for name, found in results["medians"].items():
        table.add_row(
            name,
            f"{found['load_s']:.2f}",
            f"{found['seconds_1']:.2f}",
            f"{found['seconds_1'] / (LENGTH - 1) * 1000:.1f}",
            f"{_step_bytes(name) / results['bandwidth_gb_s'] / 1e6:.1f}",
            f"{found['seconds_6']:.2f}",
            f"{found['peak_bytes_1'] / 1e6:.0f}",
            f"{found['peak_bytes_6'] / 1e6:.0f}",
        )
    return table


if __name__ == "__main__":
    main()

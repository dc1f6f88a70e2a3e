"""Summaries: transformers, CTranslate2 and this project on the same texts, with the model's own search settings.

A call has 1 or 6 texts of 400 tokens, or of the model's maximum number of tokens if it is lower.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contenders import BRIDGE, Contender, Job, PythonProcess, bridge_contenders
from ..workload import (
    COLD_START,
    DISK,
    LOAD,
    PEAK_FIRST,
    PEAK_LARGE,
    Answers,
    Derive,
    Metric,
    Request,
    Setting,
    Workload,
)
from . import Run, open_bridge

if TYPE_CHECKING:
    import argparse

    from onnx_ml_bridge.artifacts.checks import Artifact

TITLE = "Summaries"
EXTRAS = "bench,export,cpu"
LIBRARIES = ("transformers", "torch", "ctranslate2", "onnxruntime", "tokenizers", "numpy")

ORIGINAL = "transformers, eager"
CTRANSLATE2 = {"CTranslate2 float32": "float32", "CTranslate2 int8": "int8"}

ONE = Metric("seconds_1", "1 text", "seconds", higher_is_better=False, plotted=True)
ALL = Metric("seconds_all", "all texts in one call", "seconds", higher_is_better=False, plotted=True)
_TOKENS_OUT = Metric("tokens", "tokens, 1 text", "count")
_STEP = Metric("step", "a step, 1 text", "milliseconds")
_WEIGHTS = Metric("weights", "weights of a step read once", "milliseconds")
_METRICS = (
    ONE,
    ALL,
    _TOKENS_OUT,
    _STEP,
    _WEIGHTS,
    LOAD,
    COLD_START,
    replace(PEAK_FIRST, title="peak memory, 1 text", plotted=True),
    replace(PEAK_LARGE, title="peak memory, all texts"),
    DISK,
)
_TEXTS, _TOKENS = 6, 400
_COPY_BYTES = 1 << 28


def add_options(parser: argparse.ArgumentParser) -> None:
    """Do nothing: the task has no options of its own."""


def prepare(request: Request) -> list[Workload]:
    """Return one workload for each artifact."""
    from ..inputs import open_artifacts

    return [_workload(artifact, request) for artifact in open_artifacts(request)]


def _workload(artifact: Artifact, request: Request) -> Workload:
    from onnx_ml_bridge.runtime import cpu

    from ..inputs import find_original, identities, source_name, write_texts

    folder = request.scratch / artifact.manifest.name
    folder.mkdir()
    texts = _texts(artifact, request.texts or _TEXTS)
    one, large = write_texts(folder / "one.jsonl", texts[:1]), write_texts(folder / "all.jsonl", texts)
    threads = min(2, cpu.usable_cpus())
    original = find_original(artifact, request).folder.resolve() if request.peers else None
    rounds = request.rounds + 1
    return Workload(
        title=f"{artifact.manifest.name}, {threads} threads",
        original=source_name(artifact),
        artifacts=identities([artifact]),
        facts={"texts": len(texts), "tokens of a text": _input_tokens(artifact)},
        contenders=(
            *(_peers(original, folder, threads) if original else ()),
            *_bridges(artifact, request, threads),
        ),
        settings=tuple(Setting(metric, (file,) * rounds, (1,) * rounds) for metric, file in ((ONE, one), (ALL, large))),
        first=one,
        large=large,
        metrics=_METRICS,
        quality=_count_tokens,
        quality_texts=one,
        derive=_steps(original) if original else None,
    )


def _input_tokens(artifact: Artifact) -> int:
    from onnx_ml_bridge.artifacts.manifest_sections import TokenizerSpec

    return min(_TOKENS, artifact.manifest.section(TokenizerSpec).max_tokens)


def _texts(artifact: Artifact, count: int) -> list[str]:
    """Return texts of random words with exactly `count` tokens each, including special tokens."""
    from onnx_ml_bridge.artifacts.manifest_sections import TokenizerSpec
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(artifact.path(artifact.manifest.section(TokenizerSpec).file)))
    words = sorted(word for word in tokenizer.get_vocab() if word.startswith("\u0120") and word[1:].isalpha())
    source, tokens = random.Random(20260701), _input_tokens(artifact)
    texts = []
    for _ in range(count):
        chosen = [source.choice(words)[1:] for _ in range(tokens)]
        while len(tokenizer.encode(" ".join(chosen)).ids) > tokens:
            chosen.pop()
        texts.append(" ".join(chosen))
    return texts


def _peers(original: Path, folder: Path, threads: int) -> Iterator[Contender]:
    from ..inputs import folder_bytes
    from ..recipes import ctranslate2_model

    job = Job("summarization", "transformers", str(original), threads)
    yield Contender(ORIGINAL, job, PythonProcess(), folder_bytes(original), ORIGINAL)
    converted, problem = ctranslate2_model.convert(original, folder)
    for name, kind in CTRANSLATE2.items():
        converted_job = replace(job, loader="ctranslate2", source=str(converted), variant=kind)
        size = folder_bytes(converted)
        yield Contender(name, converted_job, PythonProcess(), size, ORIGINAL, unavailable=problem)


def _bridges(artifact: Artifact, request: Request, threads: int) -> Iterator[Contender]:
    from ..inputs import variant_bytes

    for variant in sorted(artifact.manifest.variants):
        job = Job("summarization", BRIDGE, str(artifact.root), threads, variant)
        size = variant_bytes(artifact, variant)
        yield from bridge_contenders(
            request.releases, job, variant, command="summarize", disk_bytes=size, reference=ORIGINAL
        )


def _count_tokens(answers: Answers, reference: Answers | None) -> dict[str, float]:
    """Return the number of tokens that a contender generates for the first text; fewer tokens are less work."""
    return {_TOKENS_OUT.key: answers[0]["tokens"]}


def _steps(original: Path) -> Derive:
    """Return a function that computes the duration of a decoder step and of reading its weights from memory, in ms."""
    weights, bandwidth = step_weights(json.loads((original / "config.json").read_text(encoding="utf-8"))), _bandwidth()

    def derive(contender: Contender, medians: Mapping[str, float]) -> dict[str, float]:
        if ONE.key not in medians or not medians.get(_TOKENS_OUT.key):
            return {}
        read = weights * (1 if "int8" in contender.job.variant else 4) / bandwidth
        step = medians[ONE.key] / medians[_TOKENS_OUT.key]
        return {_STEP.key: 1000 * step, _WEIGHTS.key: 1000 * read}

    return derive


def step_weights(config: Mapping[str, int]) -> int:
    """Return the number of weights that one step of a BART decoder reads.

    These are the weights of the output projection and of the decoder's layers. Of the layers, the projections of the
    encoder's keys and values are left out, because they are computed once per text and not in every step.
    """
    hidden, inner = config["d_model"], config["decoder_ffn_dim"]
    return config["decoder_layers"] * (6 * hidden * hidden + 2 * hidden * inner) + config["vocab_size"] * hidden


def _bandwidth() -> float:
    """Return how many bytes per second one thread copies between large arrays, the maximum of several measurements."""
    import numpy as np

    array = np.ones(_COPY_BYTES // 4, np.float32)
    target = np.empty_like(array)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        np.copyto(target, array)
        seconds.append(time.perf_counter() - started)
    return _COPY_BYTES / min(seconds)


def to_json(answer: int) -> dict[str, Any]:
    """Return the number of tokens of a summary in the form that the command `summarize` prints."""
    return {"tokens": answer}


def count_outputs(line: dict[str, Any]) -> int:
    """Return the number of generated tokens."""
    return int(line["tokens"])


def _load_transformers(job: Job) -> Run:
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    torch.set_num_threads(job.threads)
    model = AutoModelForSeq2SeqLM.from_pretrained(job.source, dtype=torch.float32, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(job.source)

    def summarize(texts: list[str]) -> list[int]:
        batch = tokenizer(texts, padding=True, return_tensors="pt")
        with torch.inference_mode():
            rows = model.generate(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        return [int((row != model.config.pad_token_id).sum()) - 1 for row in rows]  # without the start token

    return summarize


def _load_ctranslate2(job: Job) -> Run:
    from ..recipes.ctranslate2_model import load

    return load(job)


def _load_bridge(job: Job) -> Run:
    bridge = open_bridge(job, "summarization")
    bridge.warm_up()
    if hasattr(bridge, "summarize_detailed"):  # 0.1.0
        return lambda texts: [each.tokens for each in bridge.summarize_detailed([[text] for text in texts])]
    return lambda texts: [each.tokens for each in bridge.summarizer().summarize([[text] for text in texts])]


LOADERS: dict[str, Callable[[Job], Run]] = {
    "transformers": _load_transformers,
    "ctranslate2": _load_ctranslate2,
    BRIDGE: _load_bridge,
}

"""Rankings: sentence-transformers and this project rank the documents of the same queries, one query per call.

A query has 20 or 100 documents. A text of this task is an object with a query and its documents, as the command
`rerank` reads it.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contenders import BRIDGE, Contender, Job, PythonProcess, bridge_contenders, label
from ..targets import Ratio
from ..workload import COLD_START, DISK, PEAK_FIRST, PEAK_LARGE, Answers, Metric, Request, Setting, Workload
from . import Run, open_bridge

if TYPE_CHECKING:
    import argparse

    from onnx_ml_bridge.artifacts.checks import Artifact

TITLE = "Rankings"
EXTRAS = "export,cpu"
LIBRARIES = ("sentence-transformers", "transformers", "torch", "onnxruntime", "tokenizers", "numpy")

ORIGINAL = "CrossEncoder"

FEW = Metric("pairs_20", "pairs/s, 20 documents", "rate", higher_is_better=True, plotted=True)
MANY = Metric("pairs_100", "pairs/s, 100 documents", "rate", higher_is_better=True, plotted=True)
_TAU = Metric("kendall_tau", "Kendall tau", "cosine")
_TOP_1 = Metric("top_1", "first document kept", "cosine")
_METRICS = (
    FEW,
    MANY,
    _TAU,
    _TOP_1,
    replace(COLD_START, title="cold start, 20 documents"),
    replace(PEAK_FIRST, title="peak memory, 20 documents"),
    replace(PEAK_LARGE, title="peak memory, 100 documents"),
    DISK,
)
# For each metric: the number of documents per query, and the divisor of the number of queries. With 100 instead of 20
# documents per query, a fifth of the queries is ranked, so that both metrics are measured on as many pairs.
_SETTINGS = {FEW: (20, 1), MANY: (100, 5)}
_QUERIES = 40
_SEED = 20261127


def add_options(parser: argparse.ArgumentParser) -> None:
    """Do nothing: the task has no options of its own."""


def prepare(request: Request) -> list[Workload]:
    """Return one workload for each artifact."""
    from ..inputs import open_artifacts

    return [_workload(artifact, request) for artifact in open_artifacts(request)]


def _workload(artifact: Artifact, request: Request) -> Workload:
    from onnx_ml_bridge.parity.rerank.inputs import read_topics
    from onnx_ml_bridge.runtime import cpu

    from ..inputs import identities, source_name

    topics, count = read_topics().documents, request.texts or _QUERIES
    queries = {
        metric: compose_queries(topics, max(1, count // share), documents)
        for metric, (documents, share) in _SETTINGS.items()
    }
    folder = request.scratch / artifact.manifest.name
    folder.mkdir()
    files = {metric: _write(folder / f"{metric.key}.jsonl", texts) for metric, texts in queries.items()}
    threads = cpu.usable_cpus()
    return Workload(
        title=f"{artifact.manifest.name}, {threads} threads",
        original=source_name(artifact),
        artifacts=identities([artifact]),
        facts=_facts(artifact, queries[FEW]),
        contenders=(
            *(_peers(artifact, request, threads) if request.peers else ()),
            *_bridges(artifact, request, threads),
        ),
        settings=tuple(_setting(metric, files[metric], texts, request) for metric, texts in queries.items()),
        first=_write(folder / "first.jsonl", queries[FEW][:1]),
        large=files[MANY],
        metrics=_METRICS,
        ratios=tuple(_ratios(sorted(artifact.manifest.variants))),
        quality=compare_rankings,
        quality_texts=files[FEW],
        note=(_TAU.key, "Kendall tau "),
    )


def _setting(metric: Metric, file: Path, queries: Sequence[Mapping[str, Any]], request: Request) -> Setting:
    rounds, pairs = request.rounds + 1, sum(len(query["documents"]) for query in queries)
    return Setting(metric, (file,) * rounds, (pairs,) * rounds, batch=1)


def compose_queries(topics: Mapping[str, Sequence[str]], count: int, documents: int) -> list[dict[str, Any]]:
    """Return `count` queries, each with its own documents and random documents of other queries in random order.

    Calls with the same arguments return the same queries.

    :param topics: the own documents of every query. Queries are repeated, with other random documents, if `count` is
        higher than the number of topics.
    :param documents: the number of documents that every query has in the result.
    """
    source, queries = random.Random(_SEED), []
    for query, own in itertools.islice(itertools.cycle(topics.items()), count):
        others = [text for other, texts in topics.items() if other != query for text in texts]
        chosen = [*own, *source.sample(others, documents - len(own))]
        source.shuffle(chosen)
        queries.append({"query": query, "documents": chosen})
    return queries


def _write(path: Path, queries: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(query) + "\n" for query in queries), encoding="utf-8")
    return path


def _facts(artifact: Artifact, queries: Sequence[Mapping[str, Any]]) -> dict[str, str | int | float]:
    from onnx_ml_bridge.artifacts.manifest_sections import TokenizerSpec
    from onnx_ml_bridge.runtime.pair_tokenizer import PairTokenizer

    from ..conditions import hash_texts

    spec = artifact.manifest.section(TokenizerSpec)
    tokenizer = PairTokenizer(artifact.path(spec.file), spec)
    lengths = [len(pair.ids) for each in queries for pair in tokenizer.encode(each["query"], each["documents"])]
    return {
        "queries": len(queries),
        "mean tokens of a pair": sum(lengths) / len(lengths),
        "max tokens of a pair": max(lengths),
        "SHA-256 of the texts": hash_texts(map(json.dumps, queries))[:12],
    }


def _peers(artifact: Artifact, request: Request, threads: int) -> Iterator[Contender]:
    from ..inputs import find_original, folder_bytes

    folder = find_original(artifact, request).folder.resolve()
    job = Job("rerank", "original", str(folder), threads)
    yield Contender(ORIGINAL, job, PythonProcess(), folder_bytes(folder), ORIGINAL)


def _bridges(artifact: Artifact, request: Request, threads: int) -> Iterator[Contender]:
    from ..inputs import variant_bytes

    for variant in sorted(artifact.manifest.variants):
        job = Job("rerank", BRIDGE, str(artifact.root), threads, variant)
        size = variant_bytes(artifact, variant)
        yield from bridge_contenders(
            request.releases, job, variant, command="rerank", disk_bytes=size, reference=ORIGINAL
        )


def _ratios(variants: Sequence[str]) -> Iterator[Ratio]:
    """Yield the ratios of this project's figures to the original's; no ratio has a target."""
    for variant, language in itertools.product(variants, ("Python", "Rust")):
        name, what = label(variant, language), f"{variant} in {language}"
        yield Ratio(f"{what} / original, 20 documents", FEW.key, name, ORIGINAL)
        yield Ratio(f"{what} / original, 100 documents", MANY.key, name, ORIGINAL)
        yield Ratio(f"original / {what}, cold start", COLD_START.key, ORIGINAL, name)
        yield Ratio(f"original / {what}, peak memory", PEAK_LARGE.key, ORIGINAL, name)


def compare_rankings(answers: Answers, reference: Answers | None) -> dict[str, float]:
    """Return the mean Kendall tau, and the share of queries with the same first document as the reference."""
    from onnx_ml_bridge.runtime.rank_agreement import rank_figures

    if reference is None:
        return {}
    figures = rank_figures(*([_scores(answer) for answer in side] for side in (reference, answers)))
    return {metric.key: figures[metric.key] for metric in (_TAU, _TOP_1)}


def _scores(answer: Mapping[str, Any]) -> Any:
    """Return the scores in the order of the documents, float32 `[n]`."""
    import numpy as np

    return np.array([each["score"] for each in sorted(answer["ranking"], key=lambda each: each["index"])], np.float32)


def to_json(answer: Sequence[tuple[int, float]]) -> dict[str, Any]:
    """Return the indices and scores of a ranking in the form that the command `rerank` prints."""
    return {"ranking": [{"index": index, "score": score} for index, score in answer]}


def count_outputs(line: dict[str, Any]) -> int:
    """Return the number of documents of a ranking."""
    return len(line["ranking"])


def _load_original(job: Job) -> Run:
    import torch
    from sentence_transformers import CrossEncoder

    torch.set_num_threads(job.threads)
    # The weights may be stored in float16, with which PyTorch is slow on a CPU
    precision = {"dtype": torch.float32}
    model = CrossEncoder(job.source, device="cpu", local_files_only=True, model_kwargs=precision)

    def rank(queries: list[Any]) -> list[list[tuple[int, float]]]:
        rankings = (model.rank(each["query"], each["documents"], show_progress_bar=False) for each in queries)
        return [[(each["corpus_id"], each["score"]) for each in ranking] for ranking in rankings]

    return rank


def _load_bridge(job: Job) -> Run:
    bridge = open_bridge(job, "rerank")
    bridge.warm_up()

    def rank(queries: list[Any]) -> list[list[tuple[int, float]]]:
        rankings = (bridge.rerank(each["query"], each["documents"]) for each in queries)
        return [[(each.index, each.score) for each in ranking] for ranking in rankings]

    return rank


LOADERS: dict[str, Callable[[Job], Run]] = {
    "original": _load_original,
    BRIDGE: _load_bridge,
}

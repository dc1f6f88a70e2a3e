"""Sentence embeddings: sentence-transformers, OpenVINO, fastembed and this project on the same texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contenders import BRIDGE, Contender, Job, PythonProcess, Unavailable, bridge_contenders, label
from ..targets import Ratio
from ..workload import COLD_START, DISK, PEAK_FIRST, PEAK_LARGE, Answers, Metric, Request, Setting, Workload
from . import Run, open_bridge

if TYPE_CHECKING:
    import argparse

    import numpy as np
    from numpy.typing import NDArray
    from onnx_ml_bridge.artifacts.checks import Artifact

TITLE = "Sentence embeddings"
EXTRAS = "bench,export,cpu"
LIBRARIES = (
    "sentence-transformers",
    "transformers",
    "torch",
    "fastembed",
    "openvino",
    "nncf",
    "onnxruntime",
    "tokenizers",
    "numpy",
)

ORIGINAL = "sentence-transformers"
FASTEMBED = "fastembed, quantize_dynamic"
OPENVINO_F32, OPENVINO_BF16, OPENVINO_INT8 = "OpenVINO f32", "OpenVINO bf16", "OpenVINO int8, NNCF"
PYTHON_FP32, PYTHON_INT8 = label("fp32", "Python"), label("int8", "Python")
RUST_FP32, RUST_INT8 = label("fp32", "Rust"), label("int8", "Rust")

_TEXTS = 256
_BULK = "bulk"
_BATCHES: dict[Metric, int | None] = {
    Metric("batch_1", "texts/s, 1 a call", "rate", higher_is_better=True, plotted=True): 1,
    Metric("batch_8", "texts/s, 8 a call", "rate", higher_is_better=True): 8,
    Metric("batch_32", "texts/s, 32 a call", "rate", higher_is_better=True, plotted=True): 32,
    Metric(_BULK, "texts/s, one call", "rate", higher_is_better=True, plotted=True): None,
}
_METRICS = (
    *_BATCHES,
    Metric("cosine_min", "cosine min", "cosine"),
    Metric("cosine_mean", "cosine mean", "cosine"),
    COLD_START,
    PEAK_FIRST,
    replace(PEAK_LARGE, title="peak memory, all texts"),
    DISK,
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Do nothing: the task has no options of its own."""


def prepare(request: Request) -> list[Workload]:
    """Return one workload for each artifact."""
    from ..inputs import open_artifacts

    return [_workload(artifact, request) for artifact in open_artifacts(request)]


def _workload(artifact: Artifact, request: Request) -> Workload:
    from onnx_ml_bridge.runtime import cpu

    from ..corpora.composed_texts import composed_texts
    from ..inputs import identities, source_name, write_texts

    texts = composed_texts(request.texts or _TEXTS)
    folder = request.scratch / artifact.manifest.name
    folder.mkdir()
    file = write_texts(folder / "texts.jsonl", texts)
    files, units = (file,) * (request.rounds + 1), (len(texts),) * (request.rounds + 1)
    threads = cpu.usable_cpus()
    peers = _peers(artifact, request, folder, threads) if request.peers else []
    return Workload(
        title=f"{artifact.manifest.name}, {threads} threads",
        original=source_name(artifact),
        artifacts=identities([artifact]),
        facts=_facts(artifact, texts),
        contenders=(*peers, *_bridges(artifact, request, threads)),
        settings=tuple(Setting(metric, files, units, batch) for metric, batch in _BATCHES.items()),
        first=write_texts(folder / "first.jsonl", texts[:1]),
        large=file,
        metrics=_METRICS,
        ratios=tuple(_ratios(cpu.instruction_set(), exact_int8=cpu.has_exact_int8())),
        quality=_cosines,
        quality_texts=file,
        note=("cosine_min", "cosine ≥ "),
    )


def _facts(artifact: Artifact, texts: list[str]) -> dict[str, str | int | float]:
    from onnx_ml_bridge.artifacts.manifest_sections import TokenizerSpec
    from onnx_ml_bridge.runtime.tokenizer import TextTokenizer

    from ..conditions import hash_texts

    spec = artifact.manifest.section(TokenizerSpec)
    lengths = [len(tokens.ids) for tokens in TextTokenizer(artifact.path(spec.file), spec).encode(texts)]
    return {
        "texts": len(texts),
        "mean tokens": sum(lengths) / len(lengths),
        "min tokens": min(lengths),
        "max tokens": max(lengths),
        "SHA-256 of the texts": hash_texts(texts)[:12],
    }


def _peers(artifact: Artifact, request: Request, folder: Path, threads: int) -> Iterator[Contender]:
    """Yield the original and the libraries that run this project's fp32 graph."""
    from onnx_ml_bridge.artifacts.families.sentence_embedding import EmbeddingSpec

    from ..inputs import find_original, folder_bytes, variant_bytes
    from ..recipes import dynamic_quantization

    spec = artifact.manifest.section(EmbeddingSpec)
    prompt = spec.prompts[spec.default_prompt].text if spec.default_prompt else ""
    job = Job("sentence_embedding", "original", "", threads, options={"prompt": prompt, "dim": spec.dim})
    original = find_original(artifact, request).folder
    quantized = dynamic_quantization.build(artifact, folder / "quantize_dynamic")
    fp32, fp32_bytes = str(artifact.root), variant_bytes(artifact, "fp32")
    process = PythonProcess()
    jobs = {
        ORIGINAL: (replace(job, source=str(original)), folder_bytes(original)),
        FASTEMBED: (replace(job, loader="fastembed", source=str(quantized)), folder_bytes(quantized)),
        OPENVINO_F32: (replace(job, loader="openvino", source=fp32, variant="f32"), fp32_bytes),
        OPENVINO_BF16: (replace(job, loader="openvino", source=fp32, variant="bf16"), fp32_bytes),
        OPENVINO_INT8: _openvino_int8(replace(job, loader="openvino", source=fp32, variant="f32"), artifact, folder),
    }
    for name, (each, size) in jobs.items():
        yield Contender(name, each, process, size, ORIGINAL)


def _openvino_int8(job: Job, artifact: Artifact, folder: Path) -> tuple[Job, int]:
    """Return the job of the model that NNCF makes, whose layers that are not int8 are float32, and its size."""
    from ..inputs import folder_bytes
    from ..recipes import openvino_int8

    target = folder / "openvino_int8"
    options = {**job.options, "graph": str(openvino_int8.build(artifact, target))}
    return replace(job, options=options), folder_bytes(target)


def _bridges(artifact: Artifact, request: Request, threads: int) -> Iterator[Contender]:
    from ..inputs import variant_bytes

    for variant in sorted(artifact.manifest.variants):
        job = Job("sentence_embedding", BRIDGE, str(artifact.root), threads, variant)
        size = variant_bytes(artifact, variant)
        yield from bridge_contenders(
            request.releases, job, variant, command="embed", disk_bytes=size, reference=ORIGINAL
        )


def _ratios(instruction_set: tuple[str, ...], *, exact_int8: bool) -> Iterator[Ratio]:
    """Yield the ratios of texts per second, then those of cold start and memory; some targets depend on the CPU."""
    fp32_minimum = 2.5 if "avx512f" in instruction_set else 1.35
    yield Ratio("fp32 / original, one call", _BULK, PYTHON_FP32, ORIGINAL, fp32_minimum)
    if exact_int8:
        yield Ratio("int8 / original, one call", _BULK, PYTHON_INT8, ORIGINAL, 4.5)
        yield Ratio("int8 / OpenVINO f32, one call", _BULK, PYTHON_INT8, OPENVINO_F32, 1.0, strict=True)
    else:
        yield Ratio("int8 / fp32, one call", _BULK, PYTHON_INT8, PYTHON_FP32)
    yield Ratio("int8 / OpenVINO bf16, one call", _BULK, PYTHON_INT8, OPENVINO_BF16)
    openvino_minimum = 1 / 1.2 if exact_int8 else None
    yield Ratio("int8 / OpenVINO int8, one call", _BULK, PYTHON_INT8, OPENVINO_INT8, openvino_minimum)
    minima = {PYTHON_FP32: (12, 4), PYTHON_INT8: (12, 5), RUST_FP32: (20, 5), RUST_INT8: (30, 8)}
    for name, (cold_start, _) in minima.items():
        yield Ratio(f"original / {name}, cold start", COLD_START.key, ORIGINAL, name, cold_start)
    for name, (_, peak) in minima.items():
        yield Ratio(f"original / {name}, peak memory", PEAK_LARGE.key, ORIGINAL, name, peak)


def _cosines(answers: Answers, reference: Answers | None) -> dict[str, float]:
    """Return the lowest and the mean cosine between the vectors of a contender and its reference in float64."""
    import numpy as np

    if reference is None:
        return {}
    a, b = (np.array([answer["embedding"] for answer in side], np.float64) for side in (answers, reference))
    cosines = (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return {"cosine_min": float(cosines.min()), "cosine_mean": float(cosines.mean())}


def to_json(answer: NDArray[np.float32]) -> dict[str, Any]:
    """Return a vector in the form that the command `embed` prints."""
    return {"embedding": answer.tolist()}


def count_outputs(line: dict[str, Any]) -> int:
    """Return 0, because every text has one vector."""
    return 0


def _load_original(job: Job) -> Run:
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(job.threads)
    model = SentenceTransformer(job.source, device="cpu", local_files_only=True)
    return lambda texts: model.encode(texts, show_progress_bar=False)


def _load_fastembed(job: Job) -> Run:
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    name, dim, prompt = "benchmark/quantize-dynamic", job.options["dim"], job.options["prompt"]
    # Pooling and normalization are part of the graph
    TextEmbedding.add_custom_model(name, PoolingType.DISABLED, False, ModelSource(hf=name), dim, "onnx/model.onnx")
    model = TextEmbedding(name, threads=job.threads, specific_model_path=job.source, cuda=False)
    return lambda texts: list(model.embed([prompt + text for text in texts]))


def _load_openvino(job: Job) -> Run:
    import numpy as np
    from onnx_ml_bridge.artifacts.checks import read_artifact
    from onnx_ml_bridge.artifacts.manifest_sections import TokenizerSpec
    from onnx_ml_bridge.runtime.batching import DEFAULT_TOKEN_BUDGET, plan_batches
    from onnx_ml_bridge.runtime.tokenizer import TextTokenizer

    artifact = read_artifact(job.source)
    spec = artifact.manifest.section(TokenizerSpec)
    tokenizer = TextTokenizer(artifact.path(spec.file), spec)
    graph = artifact.variant("fp32").graphs["encoder"]
    names = [tensor.name for tensor in graph.inputs]
    if "prompt_length" in names:
        raise Unavailable("the graph has an input for the length of a prompt, which this contender does not fill")
    compiled = _compile_openvino(Path(job.options.get("graph", artifact.path(graph.file))), job)

    def embed(texts: list[str]) -> NDArray[np.float32]:
        vectors = np.empty((len(texts), job.options["dim"]), np.float32)
        tokens = tokenizer.encode([job.options["prompt"] + text for text in texts])
        for batch in plan_batches([len(one.ids) for one in tokens], DEFAULT_TOKEN_BUDGET):
            ids, mask = tokenizer.pad([tokens[index] for index in batch])
            feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            results = compiled({name: feeds[name] for name in names}, share_inputs=True, share_outputs=True)
            vectors[batch] = results["sentence_embedding"]
        return vectors

    return embed


def _compile_openvino(graph: Path, job: Job) -> Any:
    """Compile the model for the CPU with the job's element type.

    :raises Unavailable: if the CPU would have to emulate the element type.
    """
    import openvino
    from onnx_ml_bridge.runtime.cpu import instruction_set

    if job.variant == "bf16" and {"avx512_bf16", "amx_bf16"}.isdisjoint(instruction_set()):
        raise Unavailable("the CPU has no bf16 instructions")
    options = {
        "INFERENCE_PRECISION_HINT": job.variant,
        "INFERENCE_NUM_THREADS": job.threads,
        "ENABLE_HYPER_THREADING": True,  # otherwise OpenVINO uses fewer threads than requested
        "PERFORMANCE_HINT": "LATENCY",
    }
    core = openvino.Core()
    return core.compile_model(core.read_model(graph), "CPU", options)


def _load_bridge(job: Job) -> Run:
    return open_bridge(job, "embedding").generate_embeddings_batch


LOADERS: dict[str, Callable[[Job], Run]] = {
    "original": _load_original,
    "fastembed": _load_fastembed,
    "openvino": _load_openvino,
    BRIDGE: _load_bridge,
}

"""Who is measured, and how each of them is loaded and called.

A worker imports this module at the start of a process whose start is timed: only the standard library is imported
here, and every loader imports its own library.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from onnx_ml_bridge.artifacts.checks import Artifact

    Embed = Callable[[list[str]], NDArray[np.float32]]

ORIGINAL = "sentence-transformers"
FASTEMBED = "fastembed, quantize_dynamic"
OPENVINO_F32 = "OpenVINO f32"
OPENVINO_BF16 = "OpenVINO bf16"
PYTHON_FP32 = "onnx-ml-bridge fp32, Python"
PYTHON_INT8 = "onnx-ml-bridge int8, Python"
RUST_FP32 = "onnx-ml-bridge fp32, Rust"
RUST_INT8 = "onnx-ml-bridge int8, Rust"
OURS = (PYTHON_FP32, PYTHON_INT8, RUST_FP32, RUST_INT8)


class Unavailable(Exception):
    """The contender cannot be measured here; the message says why and names no path."""


@dataclass(frozen=True)
class Job:
    """What a worker loads: `kind` is a key of `_LOADERS` or `rust`, `precision` a variant or an element type."""

    kind: str
    folder: str
    precision: str
    threads: int
    prompt: str = ""
    dim: int = 0


@dataclass(frozen=True)
class Contender:
    """A row of the tables. `disk_bytes` counts the files of the model that it needs; libraries are not counted."""

    name: str
    job: Job
    disk_bytes: int


def load(job: Job) -> Embed:
    """Load the contender; the result embeds a list of texts as its library does by default, in float32 `[n, dim]`.

    :raises Unavailable: when this machine or this installation cannot run it.
    """
    try:
        return _LOADERS[job.kind](job)
    except ImportError as error:
        raise Unavailable(f"{error.name} is not installed: pip install 'onnx-ml-bridge[bench,export,cpu]'") from error


def _load_original(job: Job) -> Embed:
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(job.threads)
    model = SentenceTransformer(job.folder, device="cpu", local_files_only=True)
    return lambda texts: model.encode(texts, show_progress_bar=False)


def _load_fastembed(job: Job) -> Embed:
    import numpy as np
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    name = "benchmark/quantize-dynamic"
    # The graph pools and normalizes by itself.
    TextEmbedding.add_custom_model(name, PoolingType.DISABLED, False, ModelSource(hf=name), job.dim, "onnx/model.onnx")
    model = TextEmbedding(name, threads=job.threads, specific_model_path=job.folder, cuda=False)
    return lambda texts: np.stack(list(model.embed([job.prompt + text for text in texts])))


def _load_openvino(job: Job) -> Embed:
    import numpy as np
    import openvino
    from onnx_ml_bridge.artifacts.checks import read_artifact
    from onnx_ml_bridge.runtime.batching import DEFAULT_TOKEN_BUDGET, plan_batches
    from onnx_ml_bridge.runtime.tokenizer import TextTokenizer

    artifact = read_artifact(job.folder)
    spec = artifact.manifest.tokenizer
    tokenizer = TextTokenizer(artifact.path(spec.file), spec)
    graph = artifact.variant("fp32").graphs["encoder"]
    names = [tensor.name for tensor in graph.inputs]
    if "prompt_length" in names:
        raise Unavailable("the graph takes the length of a prompt, which this contender does not give")
    compiled = _compile_openvino(openvino.Core(), artifact.path(graph.file), job)

    def embed(texts: list[str]) -> NDArray[np.float32]:
        vectors = np.empty((len(texts), job.dim), np.float32)
        tokens = tokenizer.encode([job.prompt + text for text in texts])
        for batch in plan_batches([len(one.ids) for one in tokens], DEFAULT_TOKEN_BUDGET):
            ids, mask = tokenizer.pad([tokens[index] for index in batch])
            feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            found = compiled({name: feeds[name] for name in names}, share_inputs=True, share_outputs=True)
            vectors[batch] = found["sentence_embedding"]
        return vectors

    return embed


def _compile_openvino(core: Any, graph: Path, job: Job) -> Any:
    """The model on the CPU in that precision, or `Unavailable` where the CPU would have to emulate it."""
    if job.precision == "bf16" and not _has_bf16():
        raise Unavailable("the CPU has no bf16 instructions")
    options = {
        "INFERENCE_PRECISION_HINT": job.precision,
        "INFERENCE_NUM_THREADS": job.threads,
        "ENABLE_HYPER_THREADING": True,  # or fewer threads run than were asked for
        "PERFORMANCE_HINT": "LATENCY",
    }
    return core.compile_model(core.read_model(graph), "CPU", options)


def _has_bf16() -> bool:
    from onnx_ml_bridge.runtime.cpu import instruction_set

    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(instruction_set())


def _load_bridge(job: Job) -> Embed:
    from onnx_ml_bridge import OnnxMlBridge

    bridge = OnnxMlBridge.open(embedding=job.folder, variant=job.precision, threads=job.threads)
    return bridge.generate_embeddings_batch


_LOADERS: dict[str, Callable[[Job], Embed]] = {
    "sentence-transformers": _load_original,
    "fastembed": _load_fastembed,
    "openvino": _load_openvino,
    "python": _load_bridge,
}


def plan(artifact: Artifact, original: Path, dynamic: Path, threads: int) -> list[Contender]:
    """Every contender, the original first; `dynamic` is a folder that `dynamic.build` made."""
    root = str(artifact.root)
    spec = artifact.manifest.embedding
    prompt = spec.prompts[spec.default_prompt].text if spec.default_prompt else ""
    openvino = {precision: Job("openvino", root, precision, threads, prompt, spec.dim) for precision in ("f32", "bf16")}
    fp32 = variant_bytes(artifact, "fp32")
    fastembed = Job("fastembed", str(dynamic), "int8", threads, prompt, spec.dim)
    found = [
        Contender(ORIGINAL, Job("sentence-transformers", str(original), "fp32", threads), folder_bytes(original)),
        Contender(FASTEMBED, fastembed, folder_bytes(dynamic)),
        Contender(OPENVINO_F32, openvino["f32"], fp32),
        Contender(OPENVINO_BF16, openvino["bf16"], fp32),
    ]
    for name in OURS:
        kind = "python" if name.endswith("Python") else "rust"
        variant = "fp32" if "fp32" in name else "int8"
        if variant in artifact.manifest.variants:
            found.append(Contender(name, Job(kind, root, variant, threads), variant_bytes(artifact, variant)))
    return found


def variant_bytes(artifact: Artifact, variant: str) -> int:
    """Bytes of the manifest, the tokenizer or its rules and tables, the variant's graphs and their weights."""
    from onnx_ml_bridge.artifacts.onnx_file import read_onnx

    tokenizer, spacy = artifact.manifest.tokenizer, artifact.manifest.spacy
    names = {"manifest.json", "manifest.sha256"}
    names.update([tokenizer.file] if tokenizer else [], [spacy.rules, spacy.tables] if spacy else [])
    for graph in artifact.variant(variant).graphs.values():
        data = read_onnx(artifact.path(graph.file)).external
        names.update([graph.file, *(str(PurePosixPath(graph.file).with_name(name)) for name in data)])
    return sum(artifact.path(name).stat().st_size for name in names)


def folder_bytes(folder: Path) -> int:
    """Bytes of all files in a folder and below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

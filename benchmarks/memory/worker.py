"""The measured process: `python -m benchmarks.memory.worker CONFIG` prints one JSON object.

CONFIG is JSON. Its `measure` is `batch`, `long`, `limit` or `cycles`; the other keys are the parameters of that
function. The example `memory` of the Rust crate has all but `batch`. All sizes are in bytes.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx_ml_bridge import (
    BridgeOptions,
    Embedder,
    MlBridge,
    Model,
    ModelInfo,
    OnnxMlBridge,
    SummarizeOptions,
    Task,
    open_bridge,
)
from onnxruntime import InferenceSession
from tokenizers import Tokenizer

_SHORT = "the old house by the river"
# The tokens that the second text of a batch keeps of the first
_KEPT = 5000
# Model number n of `limit` truncates texts to this number of tokens plus n, so that the answers of the models differ.
_FIRST_MAX_TOKENS = 8
_MIB = 1 << 20


def status(key: str) -> int:
    """Return a size of this process: `VmRSS`, the resident memory now, `VmHWM`, its highest value, or `RssAnon`.

    `RssAnon` is the part of the resident memory that belongs to no file.
    """
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def long(path: str, variant: str, text: str) -> dict[str, Any]:
    """Embed a short text, a long one and the short one again.

    `before` and `after` exclude the files: the weights of late positions come into memory with the first long text.
    """
    embedder = Embedder.open(Model(path, variant=variant))
    embedder.embed([_SHORT])
    loaded, before = status("VmRSS"), status("RssAnon")
    result = embedder.embed([Path(text).read_text(encoding="utf-8")])
    peak, tokens, vector = status("VmHWM"), int(result.token_counts[0]), result.vectors[0].tolist()
    embedder.embed([_SHORT])
    sizes = {"loaded": loaded, "peak": peak, "before": before, "after": status("RssAnon")}
    return {"tokens": tokens, "vector": vector, **sizes}


def batch(path: str, text: str) -> dict[str, Any]:
    """Run the graph at `path` on a text and on its beginning, in a batch with padding and each alone."""
    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(Path(path).parents[1] / "tokenizer.json"))
    tokenizer.no_truncation()
    ids = np.array(tokenizer.encode(Path(text).read_text(encoding="utf-8")).ids)
    short = np.concatenate([ids[: _KEPT - 1], ids[-1:]])  # keeps the special token at the end
    names = [each.name for each in session.get_inputs()]

    def vectors(*texts: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Return the vectors of a batch, [texts, dimensions]."""
        longest = max(len(each) for each in texts)
        rows = {
            "input_ids": [np.pad(each, (0, longest - len(each))) for each in texts],
            "attention_mask": [np.arange(longest) < len(each) for each in texts],
            "token_type_ids": np.zeros((len(texts), longest)),
        }
        feed = {name: np.array(rows[name], np.int64) for name in names}
        return np.asarray(session.run(["sentence_embedding"], feed)[0])

    together = vectors(ids, short)
    alone = [vectors(each)[0] for each in (ids, short)]
    differences = [float(np.abs(a - b).max()) for a, b in zip(together, alone, strict=True)]
    return {"tokens": [len(ids), len(short)], "differences": differences}


def limit(path: str, texts: list[str], models: int, fits: int, calls: int, callers: int, seed: int) -> dict[str, Any]:
    """Call models at random whose memory exceeds the limit of their bridge."""
    limits = [_FIRST_MAX_TOKENS + number for number in range(models)]
    expected = []
    for max_tokens in limits:
        with Embedder.open(Model(path, variant="fp32", max_tokens=max_tokens)) as alone:
            expected.append(alone.embed(texts).vectors)
            each = alone.resident_bytes()
    opened = [Model(path, name=f"m{n}", variant="fp32", max_tokens=each) for n, each in enumerate(limits)]
    # A load needs the memory of the graph's file beside that of the loaded graph
    memory_mb = (fits + 1) * each // _MIB
    base = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # lets VmHWM start again
    with OnnxMlBridge.open(*opened, options=BridgeOptions(memory_mb=memory_mb)) as bridge:

        def call(number: int) -> bool:
            source = random.Random(seed + number)
            model, text = source.randrange(models), source.randrange(len(texts))
            found = bridge.embedder(f"m{model}").embed([texts[text]]).vectors[0]
            return bool(np.abs(found - expected[model][text]).max() <= 1e-6)

        with ThreadPoolExecutor(callers) as pool:
            right = sum(pool.map(call, range(calls)))
        peak = status("VmHWM")
    return {"each": each, "limit": memory_mb * _MIB, "calls": calls, "right": right, "grown": peak - base}


def cycles(bridge: str, cycles: int) -> dict[str, Any]:
    """Load, call and unload every model of a bridge.toml again and again; each cycle has three sizes."""
    with open_bridge(bridge) as opened:
        return {info.name: [_cycle(opened, info) for _ in range(cycles)] for info in opened.models()}


def _cycle(bridge: MlBridge, info: ModelInfo) -> tuple[int, int, int]:
    before = status("VmRSS")
    _CALLS[info.task](bridge, info.name)
    loaded = status("VmRSS")
    handle = _HANDLES[info.task](bridge, info.name)
    handle.unload()
    return before, loaded, status("VmRSS")


_HANDLES: dict[Task, Callable[[MlBridge, str], Any]] = {
    Task.EMBEDDING: lambda bridge, name: bridge.embedder(name),
    Task.NER: lambda bridge, name: bridge.recognizer(name),
    Task.RERANK: lambda bridge, name: bridge.reranker(name),
    Task.SUMMARIZATION: lambda bridge, name: bridge.summarizer(name),
}
_CALLS: dict[Task, Callable[[MlBridge, str], Any]] = {
    Task.EMBEDDING: lambda bridge, name: bridge.embedder(name).embed([_SHORT]),
    Task.NER: lambda bridge, name: bridge.recognizer(name).recognize([_SHORT]),
    Task.RERANK: lambda bridge, name: bridge.reranker(name).rerank(_SHORT, [_SHORT]),
    Task.SUMMARIZATION: lambda bridge, name: bridge.summarizer(name).summarize(
        [[_SHORT]], SummarizeOptions(num_beams=2, min_length=0, max_length=8)
    ),
}


if __name__ == "__main__":
    config = json.loads(sys.argv[1])
    measures: dict[str, Callable[..., dict[str, Any]]] = {
        "batch": batch,
        "long": long,
        "limit": limit,
        "cycles": cycles,
    }
    print(json.dumps(measures[config.pop("measure")](**config)))

"""The stages of test_large.py, each in a process of its own, so that its peak memory can be measured.

python stages.py make|build|compare FOLDER LAYERS VOCAB_SIZE
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "support"), str(TESTS / "golden")]
# The vectors of fp32 in a batch and those of the original: the limit of the default gate
TOLERANCE = 1e-5


def make(folder: Path, layers: int, vocab_size: int) -> dict[str, int]:
    """Save the model; the vocabulary of its tokenizer is smaller than its table of tokens."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules.normalize import Normalize
    from sentence_transformers.base.modules.transformer import Transformer
    from sentence_transformers.sentence_transformer.modules.pooling import Pooling
    from small_models import roberta_tokenizer
    from transformers import AutoModel, Qwen3Config

    tokenizer = roberta_tokenizer(model_max_length=512, padding_side="left")
    config = Qwen3Config(
        vocab_size=vocab_size,
        hidden_size=1024,
        intermediate_size=3072,
        num_hidden_layers=layers,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        max_position_embeddings=32768,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(20261127)
    AutoModel.from_config(config).float().save_pretrained(folder / "plain")
    tokenizer.save_pretrained(folder / "plain")
    modules = [Transformer(str(folder / "plain")), Pooling(1024, "lasttoken"), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder / "model"), create_model_card=False)
    shutil.rmtree(folder / "plain")
    return {}


def build(folder: Path, layers: int, vocab_size: int) -> dict[str, int]:
    """Export and quantize the model, and return the size of its fp32 weights."""
    from onnx_ml_bridge.artifacts.constants import data_file
    from onnx_ml_bridge.artifacts.families.sentence_embedding import SENTENCE_EMBEDDING
    from onnx_ml_bridge.artifacts.staging import BuildSettings
    from onnx_ml_bridge.cli.sentence_embedding import Options

    variants = ("fp32", "int8")
    settings = BuildSettings(
        SENTENCE_EMBEDDING, "large", "1", variants, SENTENCE_EMBEDDING.gates, calibration(folder), Options()
    )
    (folder / "staging").mkdir()
    staged = SENTENCE_EMBEDDING.module("export").export(folder / "model", settings, folder / "staging")
    staged = SENTENCE_EMBEDDING.module("quantize").quantize(staged)
    sizes = {name: (folder / "staging" / data_file(staged.variants[name].graphs["encoder"].file)) for name in variants}
    return {"bytes": sizes["fp32"].stat().st_size, "int8_bytes": sizes["int8"].stat().st_size}


def calibration(folder: Path) -> Path:
    """Write a few calibration texts: memory depends on the number of layers, not on that of texts."""
    from onnx_ml_bridge.quantize.calibration import read_calibration_texts

    path = folder / "calibration.txt"
    path.write_text("\n".join(read_calibration_texts(None)[::12]))
    return path


def compare(folder: Path, layers: int, vocab_size: int) -> dict[str, int]:
    """Return how many of a few texts have another vector than in the original."""
    import numpy as np
    from onnx_ml_bridge.parity.sentence_embedding.original import EmbeddingInput, load_original, original_embeddings
    from onnx_ml_bridge.parity.texts import parity_texts
    from onnx_ml_bridge.runtime.cpu import usable_cpus
    from onnx_ml_bridge.runtime.session import create_session

    texts = parity_texts()[::120]
    pipeline = load_original(folder / "model")
    expected = original_embeddings(pipeline, [EmbeddingInput(text) for text in texts]).vectors
    pipeline.tokenizer.padding_side = "right"
    encoded = pipeline.tokenizer(texts, padding=True, truncation=True, return_tensors="np")
    del pipeline
    session = create_session(folder / "staging/onnx/model.onnx", usable_cpus())
    names = [each.name for each in session.get_inputs()]
    (actual,) = session.run(["sentence_embedding"], {name: encoded[name].astype(np.int64) for name in names})
    return {"texts": len(texts), "differing": int((np.abs(actual - expected).max(axis=1) > TOLERANCE).sum())}


def main() -> None:
    """Run one stage and print its result and its peak memory."""
    stage, folder, layers, vocab_size = sys.argv[1:]
    figures = {"make": make, "build": build, "compare": compare}[stage](Path(folder), int(layers), int(vocab_size))
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts KiB
    print(json.dumps({**figures, "rss": rss}))


if __name__ == "__main__":
    main()

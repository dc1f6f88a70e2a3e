"""Build the valid artifacts of this folder, a small one of every family, from the models of sources.py.

    python tests/golden/make.py [NAME ...]      # the named artifacts, or all of them

The models are random and tiny. The artifacts are examples of the format, and their answers have no meaning. README.md
describes what must change when a valid artifact changes.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "support"))  # for the recipes of small models

from onnx_ml_bridge.cli.build import build  # noqa: E402
from onnx_ml_bridge.cli.config import ModelConfig  # noqa: E402
from sources import (  # noqa: E402
    LOOSE,
    LOOSE_ENTITIES,
    LOOSE_RANKINGS,
    LOOSE_SPANS,
    LOOSE_SUMMARIES,
    make_embedder,
    make_gliner,
    make_matryoshka_embedder,
    make_pipeline_folder,
    make_reranker,
    make_static_embedder,
    make_summarizer,
    make_token_classifier,
)

# For every artifact, by name: the function that creates its model, and the options of its build configuration.
VALID: dict[str, tuple[Callable[[Path], None], dict[str, Any]]] = {
    "tiny-embedding": (make_embedder, {"task": "sentence-embedding", "gate": {"int8": LOOSE}}),
    "tiny-gliner": (
        make_gliner,
        {
            "task": "ner",
            "gate": {"int8": LOOSE_SPANS},
            "options": {"labels": ["person", "big house"], "threshold": 0.9},
        },
    ),
    "tiny-matryoshka": (
        make_matryoshka_embedder,
        {
            "task": "sentence-embedding",
            "options": {"dimensions": [4, 8]},
            "gate": {"fp32": {"max_abs_at_4": 2e-6}, "int8": {**LOOSE, "cosine_min_at_4": 0.8}},
        },
    ),
    "tiny-ner": (make_token_classifier, {"task": "ner", "gate": {"int8": LOOSE_ENTITIES}}),
    "tiny-rerank": (make_reranker, {"task": "rerank", "gate": {"int8": LOOSE_RANKINGS}}),
    "tiny-spacy": (make_pipeline_folder, {"task": "ner", "options": {"sentences": "parser"}}),
    # Its table is too small for int8 to make it smaller
    "tiny-static": (
        make_static_embedder,
        {"task": "sentence-embedding", "variants": ["fp32"], "options": {"dimensions": [4]}},
    ),
    "tiny-summary": (make_summarizer, {"task": "summarization", "gate": {"int8": LOOSE_SUMMARIES}}),
}


def main(chosen: Sequence[str]) -> None:
    for name in chosen or VALID:
        make_source, settings = VALID[name]
        make_valid(name, make_source, settings)


def make_valid(name: str, make_source: Callable[[Path], None], settings: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        make_source(Path(temporary))
        model = ModelConfig(name=name, version="1.0.0", source=f"path:{temporary}/model", **settings)
        built = build(model, Path(temporary) / "dist", lambda stage: print(name, stage, file=sys.stderr))
        shutil.rmtree(HERE / "valid" / name, ignore_errors=True)
        shutil.copytree(str(built.path), HERE / "valid" / name)


if __name__ == "__main__":
    main(sys.argv[1:])

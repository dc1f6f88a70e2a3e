"""Makes the committed examples in this folder: small artifacts of every engine, and what readers must refuse.

    python tests/golden/make.py

valid/NAME/ are artifacts, invalid/NAME/ are artifacts with one thing wrong, and invalid.json names the code that every
reader must give. manifests/ holds manifest bytes alone; manifests.json names the code, or null where there is nothing
to refuse. The Python and the Rust tests read the same files.

The models are random and tiny: what matters here is the format, not what they say.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # for the recipes of small models

import invalid_embedding  # noqa: E402
import invalid_spacy  # noqa: E402
import invalid_tagger  # noqa: E402
from manifest_embedding import embedding_manifests  # noqa: E402
from manifest_ner import spacy_manifests, tagger_manifests  # noqa: E402
from onnx_ml_bridge.artifacts.strict_json import canonical  # noqa: E402
from onnx_ml_bridge.cli.build import build  # noqa: E402
from onnx_ml_bridge.cli.config import ModelConfig  # noqa: E402
from sources import LOOSE, LOOSE_ENTITIES, make_embedder, make_pipeline_folder, make_tagger  # noqa: E402

EMBEDDING, TAGGER, SPACY = "tiny-embedding", "tiny-ner", "tiny-spacy"
# The artifact, its source, and what its configuration says beside the name.
VALID: dict[str, tuple[Callable[[Path], None], dict[str, Any]]] = {
    EMBEDDING: (make_embedder, {"task": "sentence-embedding", "gate": {"int8": LOOSE}}),
    TAGGER: (make_tagger, {"task": "ner", "gate": {"int8": LOOSE_ENTITIES}}),
    SPACY: (make_pipeline_folder, {"task": "ner", "options": {"sentences": "parser"}}),
}
INVALID = {EMBEDDING: invalid_embedding.INVALID, TAGGER: invalid_tagger.INVALID, SPACY: invalid_spacy.INVALID}
MANIFESTS = {EMBEDDING: embedding_manifests, TAGGER: tagger_manifests, SPACY: spacy_manifests}


def main() -> None:
    for folder in ("valid", "invalid", "manifests"):
        shutil.rmtree(HERE / folder, ignore_errors=True)
    for name, (make_source, settings) in VALID.items():
        make_valid(name, make_source, settings)
    refused = {name: code for source, cases in INVALID.items() for name, code in make_invalid(source, cases).items()}
    judged: dict[str, str | None] = {}
    (HERE / "manifests").mkdir()
    for source, cases in MANIFESTS.items():
        for name, (code, raw) in cases(json.loads((HERE / "valid" / source / "manifest.json").read_bytes())).items():
            assert name not in judged, f"two cases are called {name}"
            (HERE / "manifests" / name).write_bytes(raw)
            judged[name] = code
    (HERE / "invalid.json").write_bytes(canonical(refused))
    (HERE / "manifests.json").write_bytes(canonical(judged))


def make_valid(name: str, make_source: Callable[[Path], None], settings: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        make_source(Path(temporary))
        model = ModelConfig(name=name, version="1.0.0", source=f"path:{temporary}/model", **settings)
        built = build(model, Path(temporary) / "dist", lambda stage: print(name, stage, file=sys.stderr))
        shutil.copytree(str(built.path), HERE / "valid" / name)


def make_invalid(source: str, cases: dict[str, tuple[str, Callable[[Path], object]]]) -> dict[str, str]:
    """Spoil a copy for every case; gives the codes by name."""
    for name, (_, spoil) in cases.items():
        shutil.copytree(HERE / "valid" / source, HERE / "invalid" / name)
        spoil(HERE / "invalid" / name)
    return {name: code for name, (code, _) in cases.items()}


if __name__ == "__main__":
    main()

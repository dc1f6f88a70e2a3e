"""Makes the committed examples in this folder: small artifacts of every engine, and what readers must refuse.

    python tests/golden/make.py [NAME ...]      # all of them, or those made from the artifacts named

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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "support"))  # for the recipes of small models

import invalid_embedding  # noqa: E402
import invalid_spacy  # noqa: E402
import invalid_summary  # noqa: E402
import invalid_token_classifier  # noqa: E402
from manifest_embedding import embedding_manifests  # noqa: E402
from manifest_ner import spacy_manifests, token_classifier_manifests  # noqa: E402
from manifest_summary import summary_manifests  # noqa: E402
from onnx_ml_bridge.artifacts.strict_json import canonical  # noqa: E402
from onnx_ml_bridge.cli.build import build  # noqa: E402
from onnx_ml_bridge.cli.config import ModelConfig  # noqa: E402
from sources import (  # noqa: E402
    LOOSE,
    LOOSE_ENTITIES,
    LOOSE_SUMMARIES,
    make_embedder,
    make_pipeline_folder,
    make_summarizer,
    make_token_classifier,
)

EMBEDDING, TOKEN_CLASSIFIER, SPACY, SUMMARY = "tiny-embedding", "tiny-ner", "tiny-spacy", "tiny-summary"
# The artifact, its source, and what its configuration says beside the name.
VALID: dict[str, tuple[Callable[[Path], None], dict[str, Any]]] = {
    EMBEDDING: (make_embedder, {"task": "sentence-embedding", "gate": {"int8": LOOSE}}),
    TOKEN_CLASSIFIER: (make_token_classifier, {"task": "ner", "gate": {"int8": LOOSE_ENTITIES}}),
    SPACY: (make_pipeline_folder, {"task": "ner", "options": {"sentences": "parser"}}),
    SUMMARY: (make_summarizer, {"task": "summarization", "gate": {"int8": LOOSE_SUMMARIES}}),
}
INVALID = {
    EMBEDDING: invalid_embedding.INVALID,
    TOKEN_CLASSIFIER: invalid_token_classifier.INVALID,
    SPACY: invalid_spacy.INVALID,
    SUMMARY: invalid_summary.INVALID,
}
MANIFESTS = {
    EMBEDDING: embedding_manifests,
    TOKEN_CLASSIFIER: token_classifier_manifests,
    SPACY: spacy_manifests,
    SUMMARY: summary_manifests,
}


def main(chosen: Sequence[str]) -> None:
    for folder in ("valid", "invalid", "manifests"):
        (HERE / folder).mkdir(exist_ok=True)
    refused, evaluated = _read("invalid.json"), _read("manifests.json")
    for name in chosen or VALID:
        make_source, settings = VALID[name]
        make_valid(name, make_source, settings)
        refused |= make_invalid(name, INVALID[name])
        evaluated |= make_manifests(name)
    # What no recipe makes any more goes
    known = {case for cases in INVALID.values() for case in cases}
    (HERE / "invalid.json").write_bytes(canonical({case: code for case, code in refused.items() if case in known}))
    for folder in set((HERE / "invalid").iterdir()) - {HERE / "invalid" / case for case in known}:
        shutil.rmtree(folder)
    (HERE / "manifests.json").write_bytes(canonical(evaluated))


def _read(name: str) -> dict[str, Any]:
    path = HERE / name
    return json.loads(path.read_bytes()) if path.is_file() else {}


def make_valid(name: str, make_source: Callable[[Path], None], settings: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        make_source(Path(temporary))
        model = ModelConfig(name=name, version="1.0.0", source=f"path:{temporary}/model", **settings)
        built = build(model, Path(temporary) / "dist", lambda stage: print(name, stage, file=sys.stderr))
        shutil.rmtree(HERE / "valid" / name, ignore_errors=True)
        shutil.copytree(str(built.path), HERE / "valid" / name)


def make_invalid(source: str, cases: dict[str, tuple[str, Callable[[Path], object]]]) -> dict[str, str]:
    """Spoil a copy for every case; gives the codes by name."""
    for name, (_, corrupt) in cases.items():
        shutil.rmtree(HERE / "invalid" / name, ignore_errors=True)
        shutil.copytree(HERE / "valid" / source, HERE / "invalid" / name)
        corrupt(HERE / "invalid" / name)
    return {name: code for name, (code, _) in cases.items()}


def make_manifests(source: str) -> dict[str, str | None]:
    """Write the manifests made of an artifact's; gives the codes by name, null where there is nothing to refuse."""
    cases = MANIFESTS[source](json.loads((HERE / "valid" / source / "manifest.json").read_bytes()))
    for name, (_, raw) in cases.items():
        (HERE / "manifests" / name).write_bytes(raw)
    return {name: code for name, (code, _) in cases.items()}


if __name__ == "__main__":
    main(sys.argv[1:])

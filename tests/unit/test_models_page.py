"""docs/models.md: it shows the recorded results, all of them, and they are within the limits of the tests."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("models_page", ROOT / "scripts" / "models.py")
assert SPEC is not None and SPEC.loader is not None
PAGE = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(PAGE)
SOURCES = ("SentencePiece", "tokenizer.json")
RESULTS = json.loads(PAGE.RESULTS.read_text(encoding="utf-8"))


def test_the_page_shows_the_recorded_results():
    text = PAGE.PAGE.read_text(encoding="utf-8")
    assert text == PAGE.page(RESULTS)
    assert "not run" not in text


def test_the_recorded_results_are_within_the_limits():
    assert len(RESULTS["embeddings"]) >= 17 and len(RESULTS["entities"]) >= 5
    for row in RESULTS["embeddings"].values():
        assert row["fp32"] <= 1e-5 and row["int8"] >= 0.99
        assert max(row[f"{name} {variant}"] for name in ("alone", "rust") for variant in ("fp32", "int8")) <= 1e-6
    for table in ("entities", "summaries", "tokenizations"):
        for row in RESULTS[table].values():
            assert not any(row[key] for key in row if key.endswith(" differing"))
    for name in ("mbart", "pegasus"):
        assert RESULTS["summaries"][name]["sequences"] >= 300 and RESULTS["summaries"][name]["summaries"] >= 300
        assert all(RESULTS["tokenizations"][f"{name}, {each}"]["texts"] >= 1000 for each in SOURCES)


def test_a_row_adds_up_its_settings():
    row = {
        "model_type": "x",
        "python 0 texts": 2,
        "python 1 texts": 3,
        "python 0 entities": 1000,
        "rust 0 differing": 0,
    }
    assert "\n| name | `x` | 2 | 5 | 1,000 | not run | 0 |\n" in PAGE.page({"entities": {"name": row}})

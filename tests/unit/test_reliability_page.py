"""docs/reliability.md: it is up to date, and every row names a command that exists."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("reliability_page", ROOT / "scripts" / "reliability.py")
assert SPEC is not None and SPEC.loader is not None
PAGE = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = PAGE
SPEC.loader.exec_module(PAGE)


def test_the_page_shows_the_recorded_results():
    results = json.loads(PAGE.RESULTS.read_text(encoding="utf-8"))
    assert PAGE.PAGE.read_text(encoding="utf-8") == PAGE.page(results)
    shown = {row.results.partition("::")[0] for row in PAGE.ROWS}
    assert {name.partition("::")[0] for name in results} <= shown


@pytest.mark.parametrize("row", [row for row in PAGE.ROWS if row.command], ids=lambda row: row.what[:40])
def test_a_command_exists(row):
    tool, *arguments = row.command.split()
    if tool == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert set(arguments) <= set(targets)
    elif tool == "cargo":
        tests = [name for name in arguments if name not in ("test", "--test")]
        assert tests and all((ROOT / "bridge" / "tests" / f"{name}.rs").is_file() for name in tests)
    else:
        assert tool == "pytest" and all((ROOT / name).is_file() for name in arguments)


def test_rows_without_a_command_have_no_results():
    assert all(not row.results for row in PAGE.ROWS if not row.command)


def test_a_row_shows_its_own_results():
    results = {
        "tests/reliability/test_mutations.py": {"mode": "ci", "date": "2020-01-01", "figure": "18 passed"},
        "tests/reliability/test_mutations.py::files of json": {"mode": "ci", "date": "2020-01-02", "figure": "9 files"},
    }
    line = next(line for line in PAGE.page(results).splitlines() if "mutated by Hypothesis" in line)
    assert line.endswith("| 2020-01-02 ci | files of json: 9 files |")
    assert "18 passed" not in PAGE.page(results)

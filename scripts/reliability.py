"""Writes docs/reliability.md: the rows below, with the results in docs/reliability.json, which the tests record.

python scripts/reliability.py [--check | --files | --record NAME FIGURE]
"""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "docs" / "reliability.json", ROOT / "docs" / "reliability.md"
MUTATIONS = "tests/reliability/test_mutations.py"
CRASHES, PULL_CRASHES = "tests/reliability/test_store_crashes.py", "tests/reliability/test_store_pull_crash.py"
BUILD_CRASHES = "tests/reliability/test_build_crash.py"
POWER_LOSS, RACES = "tests/reliability/test_store_power_loss.py", "tests/reliability/test_store_races.py"
HEAD = """# Reliability

What the tests try to break, the command of each row, and its last run. `make reliability` runs all Python tests of
this table for long, `make reliability-ci` those in tests/reliability for at most 15 minutes, and `make test` all of
them for about a minute in total. The mode (`short`, `ci`, `long`) is behind the date. scripts/reliability.py writes
this page.

| what | passes when | command | last run | result |
|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Row:
    """A row: what is tested, when it passes, its command, and which results are shown; without a command it is not run.

    Every result whose name begins with `results` is shown.
    """

    what: str
    passes: str
    command: str = ""
    results: str = ""


def _test(what: str, passes: str, file: str, part: str = "") -> Row:
    return Row(what, passes, f"pytest {file}", f"{file}::{part}" if part else file)


ROWS = (
    _test(
        "publish, promote, rollback, yank and gc, killed at each changing call, or with an error of the system there",
        "no torn version, a tag is old or new, an acknowledged change is there",
        CRASHES,
    ),
    _test(
        "pull in both languages, killed at each changing call, or with an error of the system there",
        "the same",
        PULL_CRASHES,
    ),
    _test(
        "build, killed at each changing call, or with an error of the system there",
        "the old artifact, the new one, or between two renames none",
        BUILD_CRASHES,
    ),
    _test(
        "power loss at any moment of them, replayed from a trace of system calls",
        "the same; every fsync taken out is found",
        POWER_LOSS,
    ),
    _test(
        "16 publishers, 32 readers, 1 gc, with locks", "the history matches, no reader misses a file", RACES, "locks"
    ),
    _test("the same without working locks", "the same, except that a move of a tag can be lost", RACES, "no locks"),
    _test("the same on a bucket of an S3 server", "the same as with locks", RACES, "bucket"),
    _test(
        "cut, flipped and changed answers of a server",
        "nothing of them in the cache",
        "tests/reliability/test_store_wire.py",
    ),
    _test("bundles, keys and archives of strangers", "refused with a code", "tests/unit/trust/test_trust.py"),
    _test(
        "bit flips, truncation, swapped, missing and extra files, links, too many files, depth",
        "refused before a graph is loaded",
        "tests/reliability/test_damage.py",
    ),
    Row("the same in Rust", "the same", "cargo test --test mutations --test golden", "cargo::damage"),
    _test(
        "files of every parser of Python, mutated by Hypothesis",
        "typed errors only, 1 s, 256 MiB, nothing outside of the folder opened",
        MUTATIONS,
        "files",
    ),
    Row("the parsers of both languages, fuzzed by coverage", "no crash", "make fuzz", "fuzz::"),
    _test("mutated artifacts, sealed again", "the same code in Python and Rust", MUTATIONS, "agreement"),
    _test("hostile paths, lying sizes, huge dimensions", "refused with their code", "tests/unit/test_golden_cases.py"),
    _test("no network: open, verify, run", "works, and no socket is made", "tests/reliability/test_offline.py"),
    _test(
        "a model hub that fails: cut, flipped byte, 401, 404, 429, proxy, token",
        "the right bytes or `source`",
        "tests/integration/test_hub.py",
    ),
    _test(
        "concurrent inference on 16 threads",
        "equal to serial calls",
        "tests/reliability/test_many_inferences.py",
    ),
    _test("texts of 10 MB", "refused or cut", "tests/reliability/test_large_texts.py"),
    _test("reload and unload under load", "no lost call, the old version serves", "tests/integration/test_reload.py"),
    Row("random load on all models", "memory, threads and files do not grow", "make soak", "soak::"),
    _test(
        "checkpoints with code or pickles",
        "refused, nothing is run",
        "tests/integration/test_sentence_embedding_refusals.py",
    ),
    _test("artifacts of every release", "verify and open", "tests/integration/test_released.py"),
)


def page(results: Mapping[str, Mapping[str, str]]) -> str:
    """Return the text of docs/reliability.md."""
    return HEAD + "".join(_line(row, results) for row in ROWS)


def _line(row: Row, results: Mapping[str, Mapping[str, str]]) -> str:
    own = {name: each for name, each in results.items() if row.results and name.startswith(row.results)}
    own = {name: each for name, each in own.items() if ("::" in name) == ("::" in row.results)}
    last = max(own.values(), key=lambda each: each["date"], default=None)
    when = f"{last['date']} {last['mode']}" if last else "not run yet"
    has_parts = "::" in row.results
    shown = [
        f"{name.rpartition('::')[2]}: {own[name]['figure']}" if has_parts else own[name]["figure"]
        for name in sorted(own)
    ]
    figures = "; ".join(shown)
    command = f"`{row.command}`" if row.command else ""
    return f"| {row.what} | {row.passes} | {command} | {when} | {figures} |\n"


def main() -> int:
    """Write the page. With --check return 1 if it is not up to date; with --files print the tests of Python.

    --record adds a result that is not one of a test of Python.
    """
    if "--files" in sys.argv:
        print(*dict.fromkeys(row.command.removeprefix("pytest ") for row in ROWS if row.command.startswith("pytest ")))
        return 0
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    if "--record" in sys.argv:
        name, figure = sys.argv[2:]
        results[name] = {
            "mode": "long",
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "figure": figure,
        }
        RESULTS.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    text = page(results)
    if "--check" in sys.argv:
        return 0 if PAGE.read_text(encoding="utf-8") == text else 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

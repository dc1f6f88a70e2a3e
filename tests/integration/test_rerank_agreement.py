"""The command `python -m benchmarks.agreement rerank` with a fake Rust command, which may return wrong rankings."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from examples import VALID

from benchmarks.agreement import __main__ as agreement
from benchmarks.agreement.rerank import rerank_queries

TINY = VALID / "tiny-rerank"
_PROGRAM = """#!{python}
import json, subprocess, sys

command = [sys.executable, "-m", "onnx_ml_bridge", *sys.argv[1:]]
done = subprocess.run(command, stdin=sys.stdin, stdout=subprocess.PIPE, encoding="utf-8", check=True)
for number, line in enumerate(done.stdout.splitlines()):
    answer = json.loads(line)
    ranking = answer["ranking"]
    if number == 3 and "{variant}" in sys.argv:
        {change}
    print(json.dumps(answer))
"""


@pytest.fixture
def program(tmp_path):
    """A function that writes a fake Rust command: it returns Python's rankings, with a change in one of a variant."""

    def write(change: str, variant: str = "int8") -> Path:
        path = tmp_path / "program"
        path.write_text(_PROGRAM.format(python=sys.executable, variant=variant, change=change), encoding="utf-8")
        path.chmod(0o755)
        return path

    return write


def run(binary: Path, queries: int = 5) -> int:
    return agreement.main(["rerank", "--artifact", str(TINY), "--rust", str(binary), "--queries", str(queries)])


def rows(printed: str) -> dict[str, list[str]]:
    """Return the cells of the printed table by variant."""
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if "tiny-rerank" in line]
    return {cells[1]: cells[2:] for cells in lines}


def test_equal_rankings_are_counted(program, capsys):
    assert run(program("pass"), queries=50) == 0
    pairs = f"{sum(len(entry.documents) for entry in rerank_queries(50)):,}"
    found = rows(capsys.readouterr().out)
    assert sorted(found) == ["fp32", "int8"]
    for cells in found.values():
        assert cells[:2] == ["50", pairs] and int(cells[2].replace(",", "")) > 100
        assert cells[3:] == ["0.0e+00", "0", "0"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("ranking[0]['score'] += 1e-5", ("1.0e-05", "0", "0")),
        ("ranking.reverse()", ("0.0e+00", "1", "0")),
        ("ranking[0]['truncated'] ^= True", ("0.0e+00", "0", "1")),
    ],
)
@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_a_difference_is_counted_and_fails(program, capsys, variant, change, expected):
    assert run(program(change, variant)) == 1
    found = rows(capsys.readouterr().out)
    assert found.pop(variant)[3:] == list(expected)
    assert [cells[3:] for cells in found.values()] == [["0.0e+00", "0", "0"]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("ranking.pop()", "did not print every document"),
        ("ranking[0]['index'] = ranking[1]['index']", "did not print every document"),
        ("continue", "did not print every document"),
        ('print(\'{"error":{"code":"inference"}}\'); sys.exit(1)', r"exit status 1\n(.*\n)*.*inference"),
    ],
)
def test_a_command_that_fails_is_an_error(program, change, message):
    with pytest.raises(SystemExit, match=message):
        run(program(change))


def test_queries_are_the_same_in_every_call():
    queries = rerank_queries(60)
    assert len(queries) == 60 and queries == rerank_queries(60) and queries[:10] == rerank_queries(10)

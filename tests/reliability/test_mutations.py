"""Mutated files, and mutated artifacts whose hashes are right again: both readers refuse them with the same code."""

from __future__ import annotations

import collections
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from examples import VALID
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from mutations.artifacts import mutated_artifact
from mutations.readers import PYTHON, SECONDS, Reader
from mutations.targets import TARGETS
from mutations.toml_text import mutated_toml
from onnx_ml_bridge.artifacts.errors import ARTIFACT_CODES, OTHER_CODES
from reliability import by_mode, record

CODES = {"valid", *ARTIFACT_CODES, *OTHER_CODES} - {"internal"}
CASES = by_mode(40, 300, 20_000)
FILE = "tests/reliability/test_mutations.py"
ARTIFACTS = by_mode(200, 500, 10_000)

pytestmark = pytest.mark.families("sentence_embedding", "token_classification", "spacy_ner", "summarization", "rerank")


@pytest.fixture(scope="module")
def python_reader() -> Iterator[Reader]:
    reader = Reader(PYTHON, [(word, path) for path in sorted(VALID.iterdir()) for word in ("verify", "replay")])
    yield reader
    reader.close()


@pytest.fixture(scope="module")
def rust_reader() -> Iterator[Reader]:
    if "ONNX_ML_BRIDGE_RUST" not in os.environ:
        pytest.skip("ONNX_ML_BRIDGE_RUST is not set; `make test` builds the command and the example `verdicts`")
    program = Path(os.environ["ONNX_ML_BRIDGE_RUST"]).parent / "examples" / "verdicts"
    reader = Reader([str(program)], [(word, path) for path in sorted(VALID.iterdir()) for word in ("verify", "replay")])
    yield reader
    reader.close()


def file_name(target: str) -> str:
    return "bridge.toml" if target == "bridge_toml" else "file"


@pytest.mark.parametrize("name", TARGETS)
def test_a_parser_refuses_mutated_files_with_a_code_in_time(python_reader, name, tmp_path):
    """The child has at most 256 MiB of memory more than after its start, and reports files outside of the folder."""
    target, path = TARGETS[name], tmp_path / file_name(name)
    path.write_bytes(target.valid)
    assert python_reader.verdict(name, path) == "valid"
    python_reader.slowest = (0.0, "")
    verdicts: collections.Counter[str] = collections.Counter()

    @settings(
        max_examples=CASES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.randoms(use_true_random=False), st.integers(0, 1 << 32))
    def check(source: Random, seed: int) -> None:
        path.write_bytes(target.mutate(target.valid, Random(seed) if seed % 4 else source))
        verdict = python_reader.verdict(name, path)
        assert verdict in CODES, path.read_bytes()[:2000]
        verdicts[verdict] += 1

    check()
    assert python_reader.slowest[0] < SECONDS, python_reader.slowest
    assert len(verdicts) > 1, verdicts
    record(
        f"{FILE}::files of {name}",
        f"{sum(verdicts.values()):,} files, slowest {python_reader.slowest[0] * 1000:.0f} ms",
    )


def test_both_readers_agree_on_mutated_artifacts(python_reader, rust_reader, tmp_path):
    originals = shutil.copytree(VALID, tmp_path / "valid")
    differing, verdicts, started = [], collections.Counter(), time.monotonic()
    python_reader.slowest = rust_reader.slowest = (0.0, "")
    for seed in range(ARTIFACTS):
        mutated = mutated_artifact(Random(seed))
        folder = mutated.write(tmp_path / "mutated", originals)
        word = "replay" if mutated.kind == "golden" else "verify"
        python, rust = (reader.verdict(word, folder) for reader in (python_reader, rust_reader))
        if python != rust or python not in CODES:
            differing.append((seed, mutated.base, mutated.kind, python, rust))
        verdicts[python] += 1
        shutil.rmtree(folder)
    assert not differing, differing
    assert len(verdicts) >= 7, verdicts
    slowest = max(python_reader.slowest, rust_reader.slowest)
    assert slowest[0] < SECONDS, slowest
    record(
        f"{FILE}::agreement on artifacts",
        f"{ARTIFACTS:,} artifacts, {len(verdicts)} verdicts, 0 differ, {time.monotonic() - started:.0f} s",
    )


def test_both_readers_agree_on_mutated_bridge_files(python_reader, rust_reader, tmp_path):
    valid = (VALID.parent / "bridge_toml" / "valid-all-keys.toml").read_bytes()
    for name in ("tiny-embedding", "tiny-ner"):
        shutil.copytree(VALID / name, tmp_path / "valid" / name)
    path = tmp_path / "files" / "bridge.toml"
    path.parent.mkdir()
    differing, verdicts = [], collections.Counter()
    for seed in range(ARTIFACTS // 4):
        path.write_bytes(mutated_toml(valid, Random(seed)))
        python, rust = (reader.verdict("bridge", path) for reader in (python_reader, rust_reader))
        if python != rust:
            differing.append((seed, python, rust, path.read_bytes()))
        verdicts[python] += 1
    assert not differing, differing
    assert len(verdicts) > 1, verdicts
    record(f"{FILE}::agreement on bridge.toml", f"{ARTIFACTS // 4:,} files, 0 differ")

"""The comparison of a GPU with the CPU, with the CPU in both roles."""

import json
import sys

import pytest
from examples import VALID

from benchmarks import gpu

TINY = VALID / "tiny-embedding"


@pytest.mark.families("sentence_embedding")
def test_every_contender_has_its_speed_and_its_difference(capsys):
    contenders = [gpu.Contender("cpu", "fp32", 512), gpu.Contender("cpu", "int8", 512)]
    figures, vectors = gpu.measure(TINY, contenders, gpu.texts_of(TINY, 9), rounds=2)
    assert vectors.shape[0] == 9
    assert (figures[0].ratio, figures[0].max_abs) == (1.0, 0.0) and figures[0].cosine_min == pytest.approx(1)
    assert 0.9 < figures[1].cosine_min < 1 and figures[1].max_abs > 0 and figures[1].texts_per_second > 0
    assert figures[1].ratio == pytest.approx(figures[1].texts_per_second / figures[0].texts_per_second)
    assert figures[0].providers == {"CPUExecutionProvider": None}


@pytest.mark.families("sentence_embedding")
def test_rust_answers_are_compared_with_those_of_python(tmp_path):
    contender, texts = gpu.Contender("cpu", "fp32", 512), gpu.texts_of(TINY, 3)
    (figures,), vectors = gpu.measure(TINY, [contender], texts, rounds=1)
    answer = {"seconds": [0.5, 0.25], "vectors": (vectors * 1.5).tolist(), "providers": {"CPUExecutionProvider": None}}
    program = tmp_path / "device"
    program.write_text(f"#!{sys.executable}\nprint({json.dumps(json.dumps(answer))})\n")
    program.chmod(0o755)
    found = gpu.measure_rust(program, TINY, contender, texts, 2, vectors, figures.seconds)
    assert (found.seconds, found.texts_per_second) == (0.25, 12.0)
    assert found.max_abs == pytest.approx(float(abs(vectors).max()) / 2) and found.cosine_min == pytest.approx(1)


@pytest.mark.families("sentence_embedding")
def test_the_last_line_is_json(capsys, monkeypatch):
    monkeypatch.setattr(gpu, "Contender", lambda device, variant, size: _Cpu())
    gpu.main(["--artifact", str(TINY), "--texts", "3", "--rounds", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and len(json.loads(lines[-1])) == 5


class _Cpu:
    name = "cpu"

    def open(self, artifact):
        return gpu.Embedder.open(gpu.Model(artifact, variant="fp32", device="cpu"))

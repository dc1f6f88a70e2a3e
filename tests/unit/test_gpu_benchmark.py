"""The comparison of a GPU with the CPU, with the CPU in both roles."""

import json

import pytest
from examples import VALID

from benchmarks import gpu

TINY = VALID / "tiny-embedding"


@pytest.mark.families("sentence_embedding")
def test_every_contender_has_its_speed_and_its_difference(capsys):
    contenders = [gpu.Contender("cpu", "fp32", 512), gpu.Contender("cpu", "int8", 512)]
    figures = gpu.measure(TINY, contenders, gpu.texts_of(TINY, 9), rounds=2)
    assert (figures[0].ratio, figures[0].max_abs) == (1.0, 0.0) and figures[0].cosine_min == pytest.approx(1)
    assert 0.9 < figures[1].cosine_min < 1 and figures[1].max_abs > 0 and figures[1].texts_per_second > 0
    assert figures[1].ratio == pytest.approx(figures[1].texts_per_second / figures[0].texts_per_second)
    assert figures[0].providers == {"CPUExecutionProvider": None}


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

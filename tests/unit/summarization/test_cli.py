"""The command `summarize`: timeouts, the progress bar, and the example of the model card."""

import re
import sys
import time
from pathlib import Path

import pytest
from onnx_ml_bridge import SummarizeOptions, Summarizer
from onnx_ml_bridge.artifacts.card import model_card
from onnx_ml_bridge.artifacts.checks import read_artifact
from onnx_ml_bridge.artifacts.errors import StoppedError
from onnx_ml_bridge.cli import summarization
from onnx_ml_bridge.cli.summarization import SummaryAnswers
from onnx_ml_bridge.runtime.summarization.summarizer import BeamSearchSummarizer
from rich.console import Console
from small_summarizers import endless_graph, make_artifact, make_model


@pytest.fixture(scope="module")
def artifact(tmp_path_factory) -> Path:
    return make_artifact(tmp_path_factory.mktemp("summaries") / "small")


def test_the_timeout_applies_to_every_line(tmp_path):
    answers = SummaryAnswers(
        Summarizer(BeamSearchSummarizer(make_model(tmp_path, endless_graph()))), SummarizeOptions(timeout=0.2)
    )
    started = time.perf_counter()
    found = [answers([(text,)])[0] for text in ("a", "b")]
    assert [each.code for each in found if isinstance(each, StoppedError)] == ["timeout", "timeout"]
    assert time.perf_counter() - started < 60


def test_progress_is_shown_only_on_a_terminal(artifact, monkeypatch, tmp_path):
    with (tmp_path / "shown").open("w") as shown:
        monkeypatch.setattr(summarization, "err", Console(file=shown, force_terminal=True, width=80))
        with summarization._progress() as progress:
            summarizer = Summarizer.open(artifact)
            options = SummarizeOptions(max_length=8, map_reduce=True, progress=progress)
            summarizer.summarize([["One two. " * 20]], options)
            progress(1, 3)
    assert "1/3" in (tmp_path / "shown").read_text()
    monkeypatch.setattr(summarization, "err", Console(file=sys.stderr, force_terminal=False))
    with summarization._progress() as progress:
        assert progress is None


def test_the_facts_of_the_card_are_right_and_its_example_runs(artifact, capsys):
    opened = read_artifact(artifact)
    card = model_card(opened.manifest, opened.family)
    assert "pipeline_tag: summarization" in card and "- Search: 4 beams, 0 to 32 tokens" in card
    assert "| fp32 | `onnx/model.onnx` | 0 |" in card
    (example,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    exec(example.replace("path/to/this/folder", str(artifact)), {})
    assert capsys.readouterr().out.strip() == "A first message. Another one."[:30]

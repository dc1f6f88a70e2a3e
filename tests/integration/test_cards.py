"""The model cards of real artifacts: they state what the artifact reproduces, and their examples run."""

import re
from pathlib import Path

import pytest
from onnx_ml_bridge.artifacts.card import model_card
from onnx_ml_bridge.artifacts.checks import read_artifact


def card_of(folder: Path) -> str:
    artifact = read_artifact(folder)
    return model_card(artifact.manifest, artifact.family)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("en-core-web-sm", "the component ner alone"),
        ("en-core-web-sm-given", "sentence_starts that each call passes"),
        ("en-core-web-sm-sentences", "its parser splits sentences"),
    ],
)
def test_the_card_states_what_is_reproduced_and_its_example_runs(name, said, spacy_artifact, capsys):
    folder = spacy_artifact(name)
    card = card_of(folder)
    assert said in card and "- Scores: none." in card and "PERSON" in card
    (example,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    text = example.replace("path/to/this/folder", str(folder)).replace("Another sentence", "Kofi Annan met Ada")
    exec(text if name.endswith("given") else text.replace("Any text", "Kofi Annan met Ada"), {})
    start = 10 if name.endswith("given") else 0
    assert f"Kofi Annan PERSON {start} {start + 10}" in capsys.readouterr().out

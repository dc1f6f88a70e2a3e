"""The subcommand `ner` with GLiNER models: options of the command and of lines."""

import json

import pytest
from examples import VALID
from onnx_ml_bridge.artifacts.checks import read_artifact
from onnx_ml_bridge.artifacts.families.gliner import GLINER
from onnx_ml_bridge.cli.main import create_app
from onnx_ml_bridge.cli.ner import NerEntry, parse_entry
from typer.testing import CliRunner

pytestmark = pytest.mark.families("gliner")
MODEL = ["ner", "--model", str(VALID / "tiny-gliner")]
TEXT = "the cat sleeps in a big house and the dog runs"


def run(lines, *options):
    return CliRunner().invoke(
        create_app(), [*MODEL, *options], input="".join(json.dumps(line) + "\n" for line in lines)
    )


def labels_of(line: str) -> set[str]:
    return {each["label"] for each in json.loads(line)["entities"]}


def test_labels_of_the_command_and_of_lines():
    lines = [TEXT, {"text": TEXT, "labels": ["tree"], "threshold": 0.3}, {"text": TEXT, "labels": None}]
    done = run(lines, "--labels", "cat, dog", "--threshold", "0.5", "--nested", "--multi-label")
    found = [labels_of(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 0 and found[0] == found[2] <= {"cat", "dog"} and found[1] == {"tree"}


def test_invalid_options_of_a_line_are_an_error_of_the_line():
    lines = [{"text": TEXT, "labels": []}, {"text": TEXT, "threshold": 2}, {"text": TEXT, "nested": "yes"}, TEXT]
    done = run(lines, "--labels", "cat")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each.get("error", {}).get("code") for each in answers] == ["config", "config", "config", None]
    assert done.exit_code == 1


def test_invalid_options_of_the_command_end_it():
    for options in (["--labels", ","], ["--threshold", "1.5"], ["--aggregation-strategy", "max"]):
        done = run([TEXT], *options)
        assert done.exit_code not in (0, 1) and not done.stdout, options


def test_lines_with_equal_options_are_one_call():
    entries = [parse_entry({"text": "a", "labels": ["x"]}, 9), parse_entry({"labels": ["x"], "text": "b"}, 9)]
    assert entries[0].call == entries[1].call != parse_entry({"text": "a", "labels": ["y"]}, 9).call
    assert parse_entry({"text": "a", "labels": None}, 9) == NerEntry("a")


def test_facts_and_usage():
    manifest = read_artifact(VALID / "tiny-gliner").manifest
    facts = GLINER.facts(manifest)
    assert facts["labels"] == "person, big house" and "up to 4 words" in facts["entities"]
    assert "windows of up to 24 words and 128 tokens" in facts["long texts"]
    assert "labels=" in GLINER.usage(manifest)

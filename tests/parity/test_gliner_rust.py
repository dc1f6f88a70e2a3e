"""The Rust command with small GLiNER models returns the entities of Python for all settings, offsets and scores too."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from examples import VALID
from gliner_calls import STORED_TEXTS, calls_of
from gliner_exports import SmallGlinerExport, export_gliner, seal_gliner
from onnx_ml_bridge import Model, Recognizer
from onnx_ml_bridge.parity.gliner.evaluation import GlinerInput, recognize
from rust_command import rust_answers

pytestmark = pytest.mark.families("gliner")
TEXTS = int(os.environ.get("ONNX_ML_BRIDGE_TEXTS", STORED_TEXTS))
TOLERANCE = 1e-6


@pytest.fixture(scope="module", params=["span-deberta", "token-xlm-roberta"])
def small(request, tmp_path_factory) -> SmallGlinerExport:
    return export_gliner(tmp_path_factory.mktemp(request.param), request.param).with_int8()


@pytest.fixture(scope="module")
def artifact(small, tmp_path_factory) -> Path:
    return seal_gliner(small, tmp_path_factory.mktemp("artifact") / small.staged.settings.name)


def line_of(call: GlinerInput) -> str:
    names = ("labels", "threshold", "nested", "multi_label")
    return json.dumps({"text": call.text, **{name: getattr(call.call, name) for name in names}})


def entity_rows(entities: list[dict]) -> list[tuple]:
    names = ("text", "label", "start", "end", "start_byte", "end_byte")
    return [tuple(each[name] for name in names) for each in entities]


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_rust_returns_the_entities_of_python(rust, small, artifact, variant):
    calls = calls_of(small, TEXTS)
    long = replace(calls[0], text=" ".join(each.text for each in calls[:200]))
    calls = [*calls, long]
    expected = recognize(Recognizer.open(Model(artifact, variant=variant)), calls)
    command = [str(rust), "ner", "--model", str(artifact), "--variant", variant]
    answers = rust_answers(command, list(map(line_of, calls)))
    differing, largest, count = [], 0.0, 0
    for index, (mine, theirs) in enumerate(zip(answers, expected, strict=True)):
        rows = [{name: getattr(each, name) for name in each.__slots__} for each in theirs]
        if entity_rows(mine["entities"]) != entity_rows(rows) or mine["truncated"] != theirs.truncated:
            differing.append(index)
        else:
            pairs = zip(mine["entities"], theirs, strict=True)
            largest = max([largest, *(abs(a["score"] - b.score) for a, b in pairs)])
            count += len(theirs)
    name = small.staged.settings.name
    print(
        f"\n{name}, {variant}: {len(calls):,} calls, {count:,} entities, {len(differing)} differ, within {largest:.1e}"
    )
    assert not differing and largest <= TOLERANCE and count > len(calls)


def test_rust_replays_the_golden_cases(rust):
    done = subprocess.run([str(rust), "verify", str(VALID / "tiny-gliner")], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(
    "options",
    [
        {"labels": []},
        {"labels": "person"},
        {"labels": ["a", 1]},
        {"labels": [f"label {number}" for number in range(1000)]},
        {"labels": ["long " * 2000]},
        {"labels": ["a <<ENT>> b"]},
        {"threshold": 1.01},
        {"threshold": -0.1},
        {"threshold": "0.5"},
        {"nested": 1},
        {"multi_label": "no"},
    ],
)
def test_both_commands_refuse_the_same_lines(rust, options):
    """The lines around the refused one are answered; `null` selects the default, and repeated labels count once."""
    line = {"text": "the cat sleeps", "labels": ["cat", "dog", "cat"], "threshold": 0.3, "nested": None}
    text = "".join(json.dumps(each) + "\n" for each in (line, line | options, line))
    python = [str(Path(os.sys.executable).with_name("onnx-ml-bridge"))]
    codes = []
    for command in ([str(rust)], python):
        arguments = [*command, "ner", "--model", str(VALID / "tiny-gliner"), "--variant", "fp32"]
        done = subprocess.run(arguments, input=text.encode(), capture_output=True, check=False)
        answers = [json.loads(each) for each in done.stdout.splitlines()]
        assert done.returncode == 1 and answers[0] == answers[2] and answers[0]["entities"], done.stderr
        codes.append(answers[1]["error"]["code"])
    assert codes == ["config", "config"]


def test_runs_over_files_have_the_same_bytes_in_both_languages(rust, tmp_path):
    lines = [{"text": "the cat sleeps in a big house"}, {"text": "a dog", "labels": ["dog"], "threshold": 0.2}, "x"]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in [*lines, {"text": "a", "labels": []}]))
    outputs = []
    for name, command in (("rust", str(rust)), ("python", str(Path(os.sys.executable).with_name("onnx-ml-bridge")))):
        out = tmp_path / name
        options = [
            "--labels",
            "cat,dog",
            "--threshold",
            "0.25",
            "--nested",
            "--input",
            str(source),
            "--output",
            str(out),
        ]
        arguments = [command, "ner", "--model", str(VALID / "tiny-gliner"), "--variant", "fp32", *options]
        subprocess.run(arguments, capture_output=True, check=False)
        outputs.append({path.name: path.read_bytes() for path in sorted(out.glob("part-*"))})
        outputs[-1]["state"] = json.loads((out / "state.json").read_text())["options"]
    assert outputs[0] == outputs[1] and len(outputs[0]) > 1

"""The command `ner`: JSON lines and highlighted texts; and the output of `show` and `verify` for its models."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx_ml_bridge import OnnxMlBridge, RecognizeOptions, Recognizer
from onnx_ml_bridge.artifacts.errors import InputError
from onnx_ml_bridge.cli.build import build
from onnx_ml_bridge.cli.config import ModelConfig
from onnx_ml_bridge.parity import token_classification
from onnx_ml_bridge.parity.texts import parity_texts
from small_token_classifiers import make_token_classifier

TEXT = "Kofi Annan met Ada in Köln on Monday.\nThe United Nations paid $3 million."
KEYS = ["text", "label", "start", "end", "start_byte", "end_byte"]


@pytest.fixture(scope="module")
def pipeline(spacy_artifact) -> Path:
    return spacy_artifact("en-core-web-sm")


@pytest.fixture(scope="module")
def given(spacy_artifact) -> Path:
    return spacy_artifact("en-core-web-sm-given")


@pytest.fixture(scope="module")
def token_classifier(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tagger")
    source = make_token_classifier(folder / "model", "bert")
    config = ModelConfig(name="tiny-ner", version="1", task="ner", source=f"path:{source}", variants=["fp32"])
    with pytest.MonkeyPatch.context() as patch:
        # The parity stage compares only every 40th text, because all texts take minutes
        patch.setattr(token_classification, "ner_texts", lambda language: parity_texts()[::40])
        return Path(build(config, folder / "dist", lambda stage: None).path)


def ner(*arguments, text="", environment=None) -> subprocess.CompletedProcess[bytes]:
    line = [sys.executable, "-m", "onnx_ml_bridge", "ner", "--model", *map(str, arguments)]
    return subprocess.run(line, input=text.encode(), capture_output=True, check=False, env=environment)


def answers(done: subprocess.CompletedProcess[bytes]) -> list[dict]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_line_has_its_entities_in_the_order_of_the_keys(pipeline):
    done = ner(pipeline, text="\n".join([json.dumps(TEXT), json.dumps({"text": ""}), json.dumps({"text": TEXT})]))
    assert (done.returncode, done.stderr) == (0, b"")
    first, empty, third = answers(done)
    assert first == third and empty == {"entities": [], "truncated": False}
    assert list(first) == ["entities", "truncated"]
    expected = OnnxMlBridge.open(pipeline).extract_entities(TEXT)
    assert len(expected) >= 4 and [list(entity) for entity in first["entities"]] == [KEYS] * len(expected)
    assert [tuple(entity.values()) for entity in first["entities"]] == [
        (each.text, each.label, each.start, each.end, each.start_byte, each.end_byte) for each in expected
    ]
    for entity in first["entities"]:
        assert TEXT.encode()[entity["start_byte"] : entity["end_byte"]].decode() == entity["text"]


def test_scores_are_float32_in_their_shortest_form(token_classifier):
    done = ner(token_classifier, text=json.dumps("A ferry crossed the strait."))
    found = OnnxMlBridge.open(token_classifier).extract_entities("A ferry crossed the strait.")
    (answer,) = answers(done)
    assert found and [list(entity) for entity in answer["entities"]] == [[*KEYS, "score"]] * len(found)
    raw = done.stdout.decode()
    for entity in found:
        assert f'"score":{np.float32(entity.score)!s}}}' in raw


def test_options_affect_the_answers(token_classifier):
    text = "A ferry crossed the strait before the storm. " * 20
    by_default, cut, whole = (
        answers(ner(token_classifier, *options, text=json.dumps(text)))[0]
        for options in ((), ("--aggregation-strategy", "max"), ("--aggregation-strategy", "max", "--stride", "8"))
    )
    assert (by_default["truncated"], cut["truncated"], whole["truncated"]) == (True, True, False)
    assert by_default["entities"] != cut["entities"] and len(whole["entities"]) > len(cut["entities"])
    options = RecognizeOptions(aggregation_strategy="max", stride=8)
    (expected,) = Recognizer.open(token_classifier).recognize([text], options)
    assert [entity["end"] for entity in whole["entities"]] == [entity.end for entity in expected.entities]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--stride", 4), 5, b"error[config]: option stride"),
        (("--aggregation-strategy", "simple"), 5, b"error[config]: option aggregation_strategy"),
        (("--aggregation-strategy", "best"), 2, b"'--aggregation-strategy'"),
        (("--stride", -1), 2, b"'--stride'"),
        (("--format", "xml"), 2, b"'--format'"),
        (("--variant", "int4"), 3, b"error[variant]"),
    ],
)
def test_invalid_options_are_reported_once_before_input_is_read(pipeline, arguments, status, message):
    done = ner(pipeline, *arguments, text='"a"\n"b"\n')
    assert (done.returncode, done.stdout) == (status, b"")
    assert done.stderr.count(message) == 1, done.stderr


def test_invalid_options_of_a_token_classifier_are_reported_once(token_classifier):
    for arguments in (("--stride", 9999), ("--aggregation-strategy", "none", "--stride", 4)):
        done = ner(token_classifier, *arguments, text='"a"\n"b"\n')
        assert (done.returncode, done.stdout, done.stderr.count(b"error[config]")) == (5, b"", 1)


def test_every_line_has_its_own_sentence_starts(given, pipeline):
    lines = [
        {"text": TEXT, "sentence_starts": [0, 38]},
        {"text": TEXT},
        {"text": "Ada", "sentence_starts": [1]},
        {"text": TEXT, "sentence_starts": [0]},
    ]
    text = "\n".join(map(json.dumps, lines))
    found, refused = answers(ner(given, text=text)), answers(ner(pipeline, text=text))
    codes = [[answer.get("error", {}).get("code") for answer in each] for each in (found, refused)]
    assert codes == [
        [None, "sentence_starts", "sentence_starts", None],
        ["sentence_starts", None, "sentence_starts", "sentence_starts"],
    ]
    assert found[2]["error"]["message"].startswith("no token starts at character 1")
    (expected,) = Recognizer.open(given).recognize([TEXT], RecognizeOptions(sentence_starts=[[0, 38]]))
    assert [entity["start"] for entity in found[0]["entities"]] == [entity.start for entity in expected.entities]
    assert ner(given, text=text).returncode == 1


def test_bad_lines_get_an_error_in_the_order_of_the_input(pipeline):
    done = ner(pipeline, "--text-limit", 50, text='"Ada"\nno json\n5\n"' + "x" * 60 + '"\n{"text":"Ada"}')
    codes = [(answer.get("error", {}).get("code"), answer.get("error", {}).get("line")) for answer in answers(done)]
    assert codes == [(None, None), ("bad_line", 2), ("input_type", 3), ("input_too_large", 4), (None, None)]
    assert done.returncode == 1


def test_entities_are_in_brackets_if_there_are_no_colors(pipeline):
    done = ner(pipeline, "--format", "table", text=json.dumps(TEXT) + "\nno json")
    first, second = done.stdout.decode().splitlines()
    assert first.startswith("[Kofi Annan PERSON] met ") and "Monday DATE].\\n" in first and "\x1b" not in first
    assert second.startswith("line 2: error[bad_line]: ") and done.returncode == 1


def test_show_and_verify_print_the_metrics_of_entities(pipeline, given, token_classifier):
    command = [sys.executable, "-m", "onnx_ml_bridge"]
    shown = {
        name: subprocess.run([*command, "show", folder], capture_output=True, check=True).stdout.decode()
        for name, folder in (("none", pipeline), ("given", given), ("tagger", token_classifier))
    }
    assert "each text is one sentence" in shown["none"] and "sentence_starts" in shown["given"]
    assert "PERSON" in shown["none"] and "entity F1" in shown["none"] and "score max abs" not in shown["none"]
    assert "aggregation strategy" in shown["tagger"] and "cut to 128 tokens" in shown["tagger"]
    verified = subprocess.run([*command, "verify", token_classifier], capture_output=True, check=True).stdout.decode()
    assert all(title in verified for title in ("golden cases", "differing", "entity F1", "score max abs"))


def test_an_offset_at_which_no_token_starts_is_an_error(given):
    with pytest.raises(InputError, match="text 0: no token starts at character 1"):
        Recognizer.open(given).recognize(["Ada"], RecognizeOptions(sentence_starts=[[1]]))

"""The command `summarize`: JSON lines and plain text; and the output of `show` and `verify` for its models."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from small_summarizers import MAX_TOKENS, make_artifact


@pytest.fixture(scope="module")
def artifact(tmp_path_factory) -> Path:
    return make_artifact(tmp_path_factory.mktemp("summaries") / "small")


def command(*arguments, text="") -> subprocess.CompletedProcess[bytes]:
    line = [sys.executable, "-m", "onnx_ml_bridge", *map(str, arguments)]
    return subprocess.run(line, input=text.encode(), capture_output=True, check=False)


def test_every_line_has_its_summary_in_the_order_of_the_keys(artifact):
    lines = ['"the cat"', '{"text": "Öl 🙂"}', '{"messages": ["the cat", "sleeps"]}', json.dumps("x" * 99)]
    done = command("summarize", "--model", artifact, text="\n".join(lines))
    assert (done.returncode, done.stderr) == (0, b"")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"summary": "the cat", "tokens": 9, "truncated": False},
        {"summary": "Öl 🙂", "tokens": 10, "truncated": False},
        {"summary": "the cat sleeps", "tokens": 16, "truncated": False},
        {"summary": "x" * 30, "tokens": 31, "truncated": True},  # cut by the default max_length of 32
    ]
    assert done.stdout.startswith(b'{"summary":"the cat","tokens":9,"truncated":false}\n')


def test_settings_reach_the_graph(artifact):
    line = json.dumps("One two. " * 9)
    cut = command(
        "summarize",
        "--model",
        artifact,
        "--max-length",
        12,
        "--num-beams",
        2,
        "--min-length",
        3,
        "--length-penalty",
        -0.5,
        text=line,
    )
    assert json.loads(cut.stdout) == {"summary": "One two. O", "tokens": 11, "truncated": True}
    whole = command("summarize", "--model", artifact, "--max-length", 12, "--map-reduce", text=line)
    assert json.loads(whole.stdout) == {"summary": "One two. O", "tokens": 11, "truncated": False}


def test_bad_lines_are_answered_with_an_error_and_do_not_affect_others(artifact):
    lines = [
        '"good"',
        "",
        "no json",
        '{"text": 5}',
        '{"messages": ["a"], "text": "a"}',
        '{"messages": "a"}',
        '{"messages": []}',
        '" "',
        '"\\ud800"',
        json.dumps("x" * 60),
        '{"messages": ["good"]}',
    ]
    done = command("summarize", "--model", artifact, "--text-limit", 50, text="\n".join(lines))
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1 and answers[0]["summary"] == answers[-1]["summary"] == "good"
    assert [answer["error"]["code"] for answer in answers[1:-1]] == [
        "bad_line",
        "bad_line",
        "input_type",
        "bad_line",
        "input_type",
        "empty_input",
        "empty_input",
        "bad_line",
        "input_too_large",
    ]
    assert [answer["error"]["line"] for answer in answers[1:-1]] == list(range(2, 11))


def test_plain_text_has_one_line_per_summary_without_control_characters(artifact):
    text = "\n".join([json.dumps("two\nlines\x1b[31m"), '"plain Öl"', '" "'])
    done = command("summarize", "--model", artifact, "--format", "text", text=text)
    assert done.returncode == 1
    assert done.stdout.decode().splitlines() == [
        "two\\nlines\\u{1b}[31m",
        "plain Öl",
        "line 3: error[empty_input]: nothing to summarize, expected a message that is not only whitespace",
    ]


@pytest.mark.parametrize(
    ("option", "value", "status"),
    [
        ("--num-beams", 0, 5),
        ("--max-length", 1, 5),
        ("--max-length", 65, 5),
        ("--min-length", 33, 5),
        ("--length-penalty", "nan", 5),
        ("--timeout", 0, 5),
        ("--num-beams", 1000, 5),
        ("--num-beams", "x", 2),
        ("--format", "table", 2),
        ("--variant", "int8", 3),
    ],
)
def test_invalid_options_are_reported_once_before_input_is_read(artifact, option, value, status):
    done = command("summarize", "--model", artifact, option, value, text='"a"\n"b"')
    assert (done.returncode, done.stdout) == (status, b"")
    assert status != 5 or done.stderr.count(b"error[config]") == 1


def test_show_prints_the_search_settings(artifact):
    done = command("show", artifact)
    said = re.sub(r"\s+", " ", done.stdout.decode())
    assert done.returncode == 0
    assert "4 beams, 0 to 32 tokens, length penalty 2; calls can change these, up to 64 tokens" in said
    assert "no repeated 3-grams" in said and f"cut to {MAX_TOKENS} tokens on the right" in said


def test_verify_prints_the_metrics_of_summaries(artifact):
    done = command("verify", artifact, "--json")
    assert json.loads(done.stdout)["variants"] == {"fp32": {"cases": 3, "differing": 0, "sealed_same": None}}
    done = command("verify", artifact)
    assert done.returncode == 0 and b"differing" in done.stdout

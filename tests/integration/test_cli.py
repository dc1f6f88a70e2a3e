"""The command as scripts use it: JSON lines, JSON output, exit statuses."""

import hashlib
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import overlays
import pytest
from examples import VALID
from onnx_ml_bridge import Model, OnnxMlBridge
from onnx_ml_bridge.artifacts.strict_json import canonical

TINY = VALID / "tiny-embedding"


def command(*arguments: object, text: str | bytes = b"") -> subprocess.CompletedProcess[bytes]:
    raw = text.encode() if isinstance(text, str) else text
    line = [sys.executable, "-m", "onnx_ml_bridge", *map(str, arguments)]
    return subprocess.run(line, input=raw, capture_output=True, check=False)


def answers(done: subprocess.CompletedProcess[bytes]) -> list[dict]:
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_embed_prints_one_line_per_input_line_in_order(variant):
    texts = ["the cat", "a dog\n runs", "", "dog " * 100]
    lines = "\n".join([json.dumps({"text": texts[0]}), json.dumps(texts[1]), json.dumps(""), json.dumps(texts[3])])
    done = command("embed", "--model", TINY, "--variant", variant, text=lines + "\n")
    assert done.returncode == 0, done.stderr
    found = answers(done)
    assert [answer["truncated"] for answer in found] == [False, False, False, True]
    expected = OnnxMlBridge.open(Model(TINY, variant=variant)).generate_embeddings_batch(texts)
    np.testing.assert_array_equal(np.array([answer["embedding"] for answer in found], np.float32), expected)


def test_bad_lines_are_answered_with_an_error_and_do_not_affect_others():
    lines = [
        b'"good"',
        b"",
        b"no json",
        b'{"text": 5}',
        b'{"text": "a", "more": 1}',
        b'{"text": "a", "text": "b"}',
        b"[1]",
        b"{}",
        b'"\\ud800"',
        b"\xff",
        b'"' + b"x" * 60 + b'"',
        b'{"text": "good"}',
    ]
    done = command("embed", "--model", TINY, "--text-limit", 50, text=b"\n".join(lines))
    assert done.returncode == 1
    codes = [answer.get("error", {}).get("code") for answer in answers(done)]
    assert codes == [
        None,
        "bad_line",
        "bad_line",
        "input_type",
        "bad_line",
        "bad_line",
        "input_type",
        "input_type",
        "bad_line",
        "bad_line",
        "input_too_large",
        None,
    ]
    assert [answer["error"]["line"] for answer in answers(done) if "error" in answer] == list(range(2, 12))


def test_an_answer_comes_before_the_next_line_is_sent():
    line = [sys.executable, "-m", "onnx_ml_bridge", "embed", "--model", str(TINY)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        for text in ("first", "second"):
            process.stdin.write(json.dumps(text).encode() + b"\n")
            process.stdin.flush()
            assert "embedding" in json.loads(process.stdout.readline())
        process.stdin.close()
    assert process.returncode == 0


def test_an_unreadable_stdin_is_an_error_and_a_closed_one_is_empty():
    line = [sys.executable, "-m", "onnx_ml_bridge", "embed", "--model", str(TINY)]
    with open(os.devnull, "wb") as unreadable:  # noqa: PTH123
        done = subprocess.run(line, stdin=unreadable, capture_output=True, timeout=60, check=False)
    assert (done.returncode, b"error[io]" in done.stderr) == (5, True)
    done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, b"")


def test_a_missing_onnxruntime_is_reported_once():
    code = (
        f"import sys; sys.modules['onnxruntime'] = None; sys.argv = ['x', 'embed', '--model', {str(TINY)!r}]\n"
        "from onnx_ml_bridge.cli.main import run; run()"
    )
    done = subprocess.run([sys.executable, "-c", code], input=b'"a"\n"b"\n', capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (4, b"")
    assert done.stderr.count(b"pip install 'onnx-ml-bridge[cpu]'") == 1


def test_verify_does_not_run_code_in_the_current_directory(tmp_path):
    (tmp_path / "numpy.py").write_text("import pathlib; pathlib.Path('ran').touch()")
    code = "import os, onnx_ml_bridge; os.chdir(os.environ['HERE']); onnx_ml_bridge.verify(os.environ['TINY'])"
    environment = os.environ | {"HERE": str(tmp_path), "TINY": str(TINY)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert not (tmp_path / "ran").exists()


def test_malicious_texts_of_an_artifact_are_shown_literally(tmp_path):
    folder = shutil.copytree(TINY, tmp_path / "artifact")
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["source"]["license"] = "[/x]\x1b[31m"
    (folder / "manifest.json").write_bytes(canonical(manifest))
    digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    (folder / "manifest.sha256").write_text(f"{digest}  manifest.json\n")
    done = command("show", folder)
    assert done.returncode == 0 and b"[/x]\\x1b[31m" in done.stdout
    os.symlink("nothing", os.fsencode(folder) + b"/\xff")  # noqa: PTH211
    (answer,) = answers(command("verify", folder, "--json"))
    assert answer["error"]["code"] == "path_kind"


def test_verify_prints_json():
    done = command("verify", TINY, "--json")
    assert done.returncode == 0, done.stderr
    (report,) = answers(done)
    assert report["ok"] and report["name"] == "tiny-embedding" and report["files"] == 16
    assert report["variants"]["int8"]["cases"] == report["variants"]["fp32"]["cases"] > 20


def test_verify_replays_one_variant():
    (report,) = answers(command("verify", TINY, "--json", "--variant", "int8"))
    assert report["variants"].keys() == {"int8"}
    done = command("verify", TINY, "--json", "--variant", "fp16")
    assert (done.returncode, answers(done)[0]["error"]["code"]) == (3, "variant")


@pytest.mark.parametrize("name", ["file-flipped", "manifest-flipped", "file-extra", "golden-other-vector"])
def test_verify_refuses_with_a_code_and_status_3(name, tmp_path):
    case = overlays.artifact_cases()[name]
    done = command("verify", case.write(tmp_path / name), "--json")
    assert (done.returncode, answers(done)[0]["error"]["code"]) == (3, case.code)
    assert f"error[{case.code}]".encode() in done.stderr


def test_show_prints_text_and_json():
    done = command("show", TINY)
    assert done.returncode == 0 and b"tiny-embedding 1.0.0" in done.stdout and b"int8" in done.stdout
    (shown,) = answers(command("show", TINY, "--json"))
    assert shown["manifest"]["embedding"]["dim"] == 16


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ((), 2),
        (("nothing",), 2),
        (("embed",), 2),
        (("verify", "/nowhere"), 3),
        (("embed", "--model", TINY, "--variant", "int4"), 3),
        (("embed", "--model", TINY, "--prompt-name", "nothing"), 5),
        (("build", "/nowhere/models.toml"), 5),
        (("export", "bad:source", "--task", "sentence-embedding", "--out", "never-made/x"), 1),
        (("export", "path:x", "--task", "mind-reading", "--out", "never-made/x"), 5),
        (("--help",), 0),
    ],
)
def test_exit_statuses(arguments, status, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command(*arguments).returncode == status


def test_a_missing_extra_is_reported_with_the_install_command():
    code = (
        "import importlib.util as u, sys; real = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name in ('torch', 'onnx') else real(name, *rest)\n"
        "sys.argv = ['onnx-ml-bridge', 'build', 'models.toml']\n"
        "from onnx_ml_bridge.cli.main import run; run()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "pip install 'onnx-ml-bridge[export,cpu]'" in done.stderr.replace("\n", " ")

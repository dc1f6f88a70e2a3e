"""Which runs can be resumed, and files that are complete or absent."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from onnx_ml_bridge.artifacts.errors import ConfigError
from onnx_ml_bridge.artifacts.new_file import new_file
from onnx_ml_bridge.cli.bulk.files import only_writer, remove_temporary
from onnx_ml_bridge.cli.bulk.state import COMPLETE, STATE, State, begin, write

RUN = State("embed", 10, "aa", 7, 2, "bb", "fp32", {"prompt_name": None, "text_limit": 100})


def test_a_new_run_needs_an_empty_folder(tmp_path):
    begin(tmp_path, RUN, resume=False)
    assert json.loads((tmp_path / STATE).read_bytes())["status"] == "running"
    with pytest.raises(ConfigError, match="or --resume"):
        begin(tmp_path, RUN, resume=False)
    begin(tmp_path, RUN, resume=True)


def test_other_files_are_never_touched(tmp_path):
    (tmp_path / "notes.txt").touch()
    for resume in (False, True):
        with pytest.raises(ConfigError, match="--output"):
            begin(tmp_path, RUN, resume=resume)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    "change",
    [
        {"command": "ner"},
        {"input_sha256": "cc"},
        {"input_bytes": 11},
        {"rows": 8},
        {"part_rows": 3},
        {"identity": "cc"},
        {"variant": "int8"},
        {"options": {"prompt_name": "query", "text_limit": 100}},
        {"options": {"prompt_name": None, "text_limit": 99}},
        {"format": 2},
    ],
)
def test_a_changed_run_is_not_resumed(tmp_path, change):
    begin(tmp_path, RUN, resume=False)
    before = (tmp_path / STATE).read_bytes()
    with pytest.raises(ConfigError, match=r" was .* and is ") as refused:
        begin(tmp_path, replace(RUN, **change), resume=True)
    assert refused.value.code == "config"
    assert (tmp_path / STATE).read_bytes() == before


def test_all_differences_are_named(tmp_path):
    begin(tmp_path, RUN, resume=False)
    with pytest.raises(ConfigError, match="part_rows was 2 and is 3; identity was 'bb' and is 'cc'"):
        begin(tmp_path, replace(RUN, part_rows=3, identity="cc"), resume=True)


def test_a_file_appears_when_it_is_complete(tmp_path):
    with new_file(tmp_path / "part") as file:
        file.write(b"text")
        assert not (tmp_path / "part").exists()
    assert (tmp_path / "part").read_bytes() == b"text"
    with pytest.raises(ZeroDivisionError), new_file(tmp_path / "part") as file:
        file.write(b"half")
        1 / 0  # noqa: B018
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"text"]


def test_files_of_a_killed_process_are_removed(tmp_path):
    for name in (".part-1.jsonl.00.tmp", "part-1.jsonl"):
        (tmp_path / name).touch()
    remove_temporary(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["part-1.jsonl"]
    write(tmp_path, RUN, COMPLETE, 3)
    assert json.loads((tmp_path / STATE).read_bytes())["failed"] == 3


def test_a_folder_has_one_writer(tmp_path):
    with only_writer(tmp_path):
        with pytest.raises(ConfigError, match="no other run"), only_writer(tmp_path):
            pass
        begin(tmp_path, RUN, resume=False)
    with only_writer(tmp_path):
        pass

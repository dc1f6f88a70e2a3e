"""Errors of the operating system while an artifact is read are typed: every call to it fails once."""

import io
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from examples import examples
from onnx_ml_bridge import verify
from onnx_ml_bridge.artifacts.checks import check_all, check_hashes, read_artifact
from onnx_ml_bridge.artifacts.errors import ArtifactError
from onnx_ml_bridge.artifacts.golden import read_golden
from onnx_ml_bridge.runtime.loading import open_artifact

FOLDERS = {family.name: folder for family, folder in examples().items()}


class Broken(io.RawIOBase):
    """A file that cannot be read after it was opened."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        raise OSError(5, "Input/output error")


def failing_at(number: int, function: Callable, failure: Callable) -> tuple[Callable, list[int]]:
    """Return a function whose call with this number fails, and the list of the numbers of its calls so far.

    Calls of other threads do not count: the one that unloads idle models reads files of /proc.
    """
    calls: list[int] = []
    caller = threading.get_ident()

    def call(*arguments, **options):
        if threading.get_ident() != caller:
            return function(*arguments, **options)
        calls.append(len(calls) + 1)
        return failure() if calls[-1] == number else function(*arguments, **options)

    return call, calls


def denied():
    raise PermissionError(13, "Permission denied", "some file")


def vanished():
    raise FileNotFoundError(2, "No such file or directory", "some file")


def read_cases(folder: Path) -> None:
    artifact = read_artifact(folder)
    read_golden(artifact.path(artifact.manifest.golden.file), artifact.family.case)


OPERATIONS = {
    "read_artifact": read_artifact,
    "open_artifact": open_artifact,
    "check_all": lambda folder: check_all(read_artifact(folder)),
    "verify": verify,
    "golden": read_cases,
}
FUNCTIONS = [(io, "open", denied), (io, "open", Broken), (os, "scandir", vanished), (os, "lstat", denied)]


@pytest.mark.parametrize("family", FOLDERS)
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(("module", "function", "failure"), FUNCTIONS)
def test_every_failing_call_is_a_typed_error(module, function, failure, operation, family, monkeypatch):
    monkeypatch.setattr("onnx_ml_bridge.runtime.verify.child_events", lambda *arguments, **options: [{"variants": {}}])
    run, real = OPERATIONS[operation], getattr(module, function)
    run(FOLDERS[family])  # imports modules, which read files too
    refused = 0
    for number in range(1, 200):
        with monkeypatch.context() as patch:
            call, calls = failing_at(number, real, failure)
            patch.setattr(module, function, call)
            try:
                run(FOLDERS[family])
            except ArtifactError as error:
                expected = {"io", "path_kind"} if function == "lstat" else {"io"}
                assert error.code in expected, error
                refused += 1
        if len(calls) < number:
            break
    assert refused == number - 1 and (refused or function == "lstat")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda file: file.unlink(), "io"),
        (lambda file: (file.unlink(), file.mkdir()), "io"),
        (lambda file: (file.unlink(), file.symlink_to(file)), "io"),
    ],
)
def test_a_file_that_changes_between_checks(change, code, tmp_path):
    folder = shutil.copytree(next(iter(FOLDERS.values())), tmp_path / "copied")
    artifact = read_artifact(folder)
    change(artifact.path(artifact.manifest.golden.file))
    for call in (lambda: check_all(artifact), lambda: check_hashes(artifact, artifact.manifest.files)):
        with pytest.raises(ArtifactError) as refused:
            call()
        assert refused.value.code == code


@pytest.mark.parametrize("path", ["x" * 300, "a\0b", "nowhere", "", "file", "file/below", "x/" * 3000, "loop"])
@pytest.mark.parametrize("operation", ["read_artifact", "open_artifact", "verify"])
def test_a_path_that_is_no_directory(operation, path, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ArtifactError) as refused:
        OPERATIONS[operation](tmp_path / path if path else "")
    assert refused.value.code == "path_kind"


def test_a_child_that_cannot_be_started(monkeypatch):
    monkeypatch.setattr("subprocess.Popen", lambda *arguments, **options: denied())
    with pytest.raises(ArtifactError, match="Permission denied") as refused:
        verify(next(iter(FOLDERS.values())))
    assert refused.value.code == "io"

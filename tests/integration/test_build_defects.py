"""Unexpected exceptions of a build: those of the original's libraries are `source`, those of the package `internal`."""

import logging
from pathlib import Path

import pytest
from onnx_ml_bridge.artifacts.errors import BuildError
from onnx_ml_bridge.artifacts.originals import original_errors
from onnx_ml_bridge.cli.build import build_all
from onnx_ml_bridge.cli.config import ModelConfig
from sources import LOOSE, make_embedder


class OddError(Exception):
    """An exception of a class that nobody expects."""


def failing(module: str):
    """Return a function that raises an exception and belongs to a module of this name."""
    namespace = {"__name__": module, "OddError": OddError}
    exec("def fail(*arguments, **options):\n    raise OddError('not expected')", namespace)
    return namespace["fail"]


OWN, OTHER = failing("onnx_ml_bridge.export.some"), failing("transformers.some")


def test_exceptions_of_a_library_are_converted():
    with pytest.raises(BuildError, match="torch fails on the original model: OddError: not expected") as refused:
        original_errors("torch")(OTHER)()
    assert refused.value.code == "source"


def test_exceptions_of_this_package_are_not_converted():
    def wrapping():
        try:
            OWN()
        except OddError as error:
            raise RuntimeError("a library wraps it") from error

    for function, expected in ((OWN, OddError), (wrapping, RuntimeError)):
        with pytest.raises(expected):
            original_errors("torch")(function)()


@pytest.mark.parametrize("error", [OSError("full"), BuildError("config", "wrong")])
def test_typed_errors_are_kept(error):
    with pytest.raises(type(error)) as kept, original_errors("torch"):
        raise error
    assert kept.value is error


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    make_embedder(folder)
    return folder / "model"


def error_of(source: Path, out: Path) -> dict[str, str]:
    settings = {"name": "tiny", "version": "1", "task": "sentence-embedding", "source": f"path:{source}"}
    model = ModelConfig(**settings, variants=["fp32"], gate={"fp32": LOOSE})
    (built,) = build_all([model], out, lambda model: lambda stage: None)
    assert built.status == "failed"
    return built.error


@pytest.mark.parametrize(
    "name",
    [
        "cli.build._build_key",
        "cli.build._compose",
        "cli.build.seal",
        "export.sentence_embedding.pipeline._describe",
        "parity.sentence_embedding.prove",
    ],
)
def test_a_defect_of_a_stage_is_internal_and_its_traceback_is_logged(name, source, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(f"onnx_ml_bridge.{name}", OWN)
    error = error_of(source, tmp_path)
    assert (error["code"], "OddError: not expected" in error["message"]) == ("internal", True)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None and "OddError" in caplog.text and "Traceback" in caplog.text
    assert not (tmp_path / "tiny").exists()


@pytest.mark.parametrize(
    "name",
    [
        "sentence_transformers.SentenceTransformer.__init__",
        "torch.onnx.export",
        "sentence_transformers.SentenceTransformer.encode",
    ],
)
def test_an_exception_of_the_original_is_a_problem_of_the_source(name, source, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(name, OTHER)
    error = error_of(source, tmp_path)
    assert (error["code"], "not expected" in error["message"]) == ("source", True)
    assert not [record for record in caplog.records if record.levelno == logging.ERROR]


def test_a_damaged_tokenizer_is_a_problem_of_the_source(source, tmp_path):
    raw = (source / "tokenizer.json").read_bytes()
    (source / "tokenizer.json").write_bytes(b'{"model": 5}')
    try:
        assert error_of(source, tmp_path)["code"] == "source"
    finally:
        (source / "tokenizer.json").write_bytes(raw)

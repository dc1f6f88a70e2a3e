"""Fixtures for all tests: artifacts of real models, the import path of helper modules, and the scheduling of files."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# The tests need no network. The variable is set before the first import of huggingface_hub, which reads it only once.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Parallel test processes use different CPUs, because libraries start one thread for each CPU they see. The CPUs are set
# before any library that starts threads is imported.
if (worker := os.environ.get("PYTEST_XDIST_WORKER")) and hasattr(os, "sched_setaffinity"):
    processors = sorted(os.sched_getaffinity(0))
    own = processors[int(worker.removeprefix("gw")) :: int(os.environ["PYTEST_XDIST_WORKER_COUNT"])]
    os.sched_setaffinity(0, own or processors)
# The time of one example says nothing on a machine that other processes use too. Some test environments have no
# Hypothesis.
with suppress(ImportError):
    from hypothesis import HealthCheck, settings

    settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("tests")
# pytest's importlib mode adds no folder to sys.path; tests import helper modules by their plain names.
TESTS = Path(__file__).parent
for helpers in (TESTS, TESTS / "support", TESTS / "golden"):
    sys.path.insert(0, str(helpers))

# Files that share expensive fixtures run in one process, so that the fixtures are created once.
_TOGETHER = {
    "test_token_classification.py": "token classifiers",
    "test_token_classification_rust.py": "token classifiers",
    "test_small_models.py": "embedders",
    "test_batch_independence.py": "embedders",
    "test_int8_small.py": "embedders",
}
MINILM, SUMMARIZER = "all-minilm-l6-v2", "bart-package-descriptions"
RERANKER = "cross-encoder-package-descriptions"
DIST_VARIABLE = "ONNX_ML_BRIDGE_DIST"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests that require a family that without_family.py has removed."""
    from onnx_ml_bridge.artifacts.families import FAMILIES

    known = {family.name for family in FAMILIES}
    others = [item for item in items if any(set(marker.args) - known for marker in item.iter_markers("families"))]
    items[:] = [item for item in items if item not in others]
    config.hook.pytest_deselected(items=others)


class ByFile(LoadScopeScheduling):
    """Assigns whole files, or files that belong together, to one process."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return _TOGETHER.get(path.rpartition("/")[2], path)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    """Return the scheduler; pytest-xdist calls this hook."""
    return ByFile(config, log)


@pytest.fixture(scope="session")
def package_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package's source to build from, because setuptools leaves a build folder in the source."""
    target = tmp_path_factory.mktemp("source")
    project = tomllib.loads((TESTS.parent / "pyproject.toml").read_text(encoding="utf-8"))
    for folder in project["tool"]["setuptools"]["package-dir"].values():
        shutil.copytree(TESTS.parent / folder, target / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("LICENSE", "README.md", "pyproject.toml", "setup.py"):
        shutil.copy(TESTS.parent / file, target / file)
    return target


@pytest.fixture(scope="session")
def s3_environment() -> Iterator[dict[str, str]]:
    """The environment of the clients of an S3 server, which `make test-s3` installs; skips without it."""
    from store_servers import s3_server

    with s3_server() as environment:
        yield environment


@pytest.fixture
def s3_address(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty folder of a bucket."""
    from store_servers import BUCKET

    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{secrets.token_hex(8)}"


@pytest.fixture(scope="session")
def minilm_config():
    """The entry of the sentence embedding model in models.toml."""
    return config_of_models_toml(MINILM)


@pytest.fixture(scope="session")
def minilm_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of a real sentence embedding model."""
    return built_artifact(MINILM, tmp_path_factory)


@pytest.fixture(scope="session")
def summarizer_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of the small trained summarizer."""
    return built_artifact(SUMMARIZER, tmp_path_factory)


@pytest.fixture(scope="session")
def reranker_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of the small trained reranker."""
    return built_artifact(RERANKER, tmp_path_factory)


def built_artifact(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an artifact of models.toml from the folder in ONNX_ML_BRIDGE_DIST, or build it in a minute or two."""
    dist = os.environ.get(DIST_VARIABLE)
    if dist and (Path(dist) / name / "manifest.json").is_file():
        return Path(dist).absolute() / name
    from onnx_ml_bridge.cli.build import build

    built = build(config_of_models_toml(name), tmp_path_factory.mktemp("dist"), lambda stage: None)
    assert built.path is not None
    return Path(built.path)


def config_of_models_toml(name: str):
    """Return one entry of models.toml."""
    from onnx_ml_bridge.cli.config import read_models

    return next(model for model in read_models(TESTS.parent / "models.toml") if model.name == name)


@pytest.fixture(scope="session")
def spacy_artifact(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The function `spacy_artifact(name)`, which returns the artifact of one of `spacy_artifacts.PIPELINES`.

    Artifacts of models.toml are used from the folder in ONNX_ML_BRIDGE_DIST if they exist there. All others are built
    once per session, in a few seconds each.
    """
    from onnx_ml_bridge.cli.config import read_models
    from onnx_ml_bridge.parity.texts import parity_texts
    from spacy_artifacts import config_of, seal_pipeline

    built = {model.name for model in read_models(TESTS.parent / "models.toml")}
    dist = os.environ.get(DIST_VARIABLE)
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            ready = Path(dist).absolute() / name if dist and name in built else None
            if ready is None or not (ready / "manifest.json").is_file():
                ready = seal_pipeline(config_of(name), tmp_path_factory.mktemp("spacy") / name, parity_texts()[::20])
            made[name] = ready
        return made[name]

    return get

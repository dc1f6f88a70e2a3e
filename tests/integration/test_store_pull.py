"""Pulling from an S3 server and from a web server."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from onnx_ml_bridge.artifacts.checks import check_all, read_artifact
from onnx_ml_bridge.artifacts.store.cache import Cache
from onnx_ml_bridge.artifacts.store.pull import pull
from onnx_ml_bridge.artifacts.store.remote import BucketBackend
from onnx_ml_bridge.artifacts.store.spec import Spec
from onnx_ml_bridge.artifacts.store.web import WebBackend
from store_files import NAME, laid_out, published, sealed_version
from store_servers import BUCKET, WebServer, s3_server, web_server

pytestmark = pytest.mark.families("sentence_embedding")
LATEST = Spec.parse(NAME)


@pytest.fixture(scope="module")
def s3_environment() -> Iterator[dict[str, str]]:
    with s3_server() as environment:
        yield environment


@pytest.fixture
def bucket(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> BucketBackend:
    """An empty folder of a bucket."""
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    return BucketBackend.open(f"s3://{BUCKET}/{secrets.token_hex(8)}")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """An artifact with a file of several parts."""
    sealed_version(tmp_path / "large", extra={"data/random.bin": os.urandom(20_000_000), "empty.txt": b""})
    return tmp_path / "large"


@pytest.fixture
def web(tmp_path: Path, large: Path) -> Iterator[WebServer]:
    laid_out(tmp_path / "store", large, "latest")
    with web_server(tmp_path / "store") as server:
        yield server


def test_an_artifact_is_pulled_from_a_bucket(bucket: BucketBackend, large: Path, cache: Cache):
    identity = published(bucket, large, "latest")

    artifact = pull(bucket, LATEST, cache)

    assert artifact.identity == identity
    assert artifact.root == cache.folder / "artifacts" / identity
    check_all(read_artifact(artifact.root))


@pytest.mark.parametrize("has_ranges", [True, False])
def test_an_artifact_is_pulled_from_a_web_server(web: WebServer, cache: Cache, has_ranges: bool):
    web.has_ranges = has_ranges

    artifact = pull(WebBackend.open(web.address), LATEST, cache)

    check_all(read_artifact(artifact.root))
    data = next(key for key in web.requests if key.endswith("random.bin"))
    assert web.requests[data] == (3 if has_ranges else 1)

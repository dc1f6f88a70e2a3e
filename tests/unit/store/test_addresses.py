"""The addresses of buckets and web servers."""

from __future__ import annotations

import pytest
from onnx_ml_bridge.artifacts.errors import ConfigError, StoreError
from onnx_ml_bridge.artifacts.store.addresses import open_backend
from onnx_ml_bridge.artifacts.store.folder import FolderBackend
from onnx_ml_bridge.artifacts.store.remote import BucketBackend
from onnx_ml_bridge.artifacts.store.web import WebBackend


@pytest.mark.parametrize(
    ("address", "kind", "shown"),
    [
        ("s3://models/prod/", BucketBackend, "s3://models/prod"),
        ("gs://models", BucketBackend, "gs://models"),
        ("az://models/prod", BucketBackend, "az://models/prod"),
        ("https://models.example/prod/", WebBackend, "https://models.example/prod"),
        ("http://user:secret@localhost:8000", WebBackend, "http://localhost:8000"),
        ("/srv/models", FolderBackend, "/srv/models"),
    ],
)
def test_an_address_has_its_backend(address: str, kind: type, shown: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    backend = open_backend(address)
    assert isinstance(backend, kind)
    assert backend.address == shown


@pytest.mark.parametrize(
    "address",
    [
        "s3://",
        "s3://key:secret@models",
        "s3://models?token=secret",
        "https://",
        "https://host/a?token=secret#secret",
        "ftp://user:secret@host",
    ],
)
def test_an_invalid_address_is_refused_without_its_credentials(address: str):
    with pytest.raises(ConfigError) as refused:
        open_backend(address)
    assert "secret" not in str(refused.value)


def test_a_web_server_cannot_be_listed():
    backend = open_backend("https://models.example")
    for listing in (backend.names, lambda prefix: list(backend.entries(prefix))):
        with pytest.raises(StoreError, match="cannot list"):
            listing("models")

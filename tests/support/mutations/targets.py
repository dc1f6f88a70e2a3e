"""Every parser of outside data in Python: a function of the path of a file, and a valid file to mutate.

A new parser is one entry of `TARGETS`.
"""

from __future__ import annotations

import base64
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, cast

from examples import VALID, examples
from onnx_ml_bridge.artifacts import strict_json
from onnx_ml_bridge.artifacts.checks import check_all, read_artifact
from onnx_ml_bridge.artifacts.errors import ArtifactError, OnnxMlBridgeError
from onnx_ml_bridge.artifacts.golden import read_golden
from onnx_ml_bridge.artifacts.manifest import Manifest, parse_manifest
from onnx_ml_bridge.artifacts.onnx_file import read_onnx
from onnx_ml_bridge.artifacts.store.cache import Cache
from onnx_ml_bridge.artifacts.store.packing import pack, unpack
from onnx_ml_bridge.artifacts.store.records import TagRecord, VersionRecord
from onnx_ml_bridge.artifacts.store.spec import Spec
from onnx_ml_bridge.artifacts.trust.bundles import verify_bundle
from onnx_ml_bridge.runtime.bridge_config import open_bridge, read_bridge_config
from onnx_ml_bridge.runtime.loading import runtime_of
from onnx_ml_bridge.runtime.verify import refusal_code, replay

from .binary import mutated_bytes, mutated_protobuf, mutated_safetensors, mutated_tar
from .json_values import mutated_json
from .toml_text import mutated_toml

Mutate = Callable[[bytes, Random], bytes]


@dataclass(frozen=True)
class Target:
    """A parser: the function that reads a file, a valid content of the file, and how it is mutated."""

    read: Callable[[Path], object]
    valid: bytes
    mutate: Mutate


def json_or_bytes(raw: bytes, source: Random) -> bytes:
    """Mutate a text of JSON as a value, or now and then as bytes."""
    return mutated_bytes(raw, source) if source.random() < 0.1 else mutated_json(json.loads(raw), source)


def json_lines_or_bytes(raw: bytes, source: Random) -> bytes:
    """Mutate one line of JSON lines."""
    lines = raw.splitlines(keepends=True)
    index = source.randrange(len(lines))
    changed = mutated_json(json.loads(lines[index]), source, line=True)
    return mutated_bytes(raw, source) if source.random() < 0.1 else b"".join([*lines[:index], changed])


def bundle_or_payload(raw: bytes, source: Random) -> bytes:
    """Mutate a bundle, or the statement that is encoded in it."""
    if source.random() < 0.5:
        return json_or_bytes(raw, source)
    bundle = json.loads(raw)
    statement = json_or_bytes(base64.b64decode(bundle["dsseEnvelope"]["payload"]), source)
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(statement).decode()
    return json.dumps(bundle).encode()


def _file(base: str, name: str) -> bytes:
    return (VALID / base / name).read_bytes()


@cache
def _manifest(base: str) -> Manifest:
    return parse_manifest(_file(base, "manifest.json"))


def _reads_spacy(name: str, path: Path) -> object:
    from onnx_ml_bridge.artifacts.families.spacy_ner import SpacySpec
    from onnx_ml_bridge.runtime.spacy_ner.rules import read_rules
    from onnx_ml_bridge.runtime.spacy_ner.tables import read_tables

    return read_rules(path) if name == "rules" else read_tables(path, _manifest("tiny-spacy").section(SpacySpec))


def _reads_tokenizer(path: Path) -> object:
    from onnx_ml_bridge.artifacts.manifest_sections import TokenizerSpec
    from onnx_ml_bridge.runtime.tokenizer import TextTokenizer

    return TextTokenizer(path, _manifest("tiny-embedding").section(TokenizerSpec)).encode(["the cat é"])


def _reads_pair_tokenizer(path: Path) -> object:
    from onnx_ml_bridge.artifacts.manifest_sections import TokenizerSpec
    from onnx_ml_bridge.runtime.pair_tokenizer import PairTokenizer

    return PairTokenizer(path, _manifest("tiny-rerank").section(TokenizerSpec)).encode("the cat", ["é", ""])


class _AnySignature:
    """A public key for which every signature is right, so that the statement is read."""

    def verify(self, payload_type: str, payload: bytes, signature: str) -> None:
        pass


def _reads_bundle(path: Path) -> object:
    raw = path.read_bytes()
    try:
        return verify_bundle(raw, cast(Any, _AnySignature()), _signed_files())
    except ValueError as error:
        raise ArtifactError("signature", str(error)) from error


@cache
def _signed_files() -> dict[str, str]:
    statement = json.loads(base64.b64decode(json.loads(_BUNDLE)["dsseEnvelope"]["payload"]))
    return {each["name"]: each["digest"] for each in statement["predicate"]["resources"]}


def _reads_archive(path: Path) -> object:
    """Unpack to a cache beside the file."""
    cache = path.with_name("cache")
    try:
        return unpack(path, Cache(cache))
    finally:
        shutil.rmtree(cache, ignore_errors=True)


def _packed() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        pack(next(iter(examples().values())), Path(folder) / "packed.tar")
        return (Path(folder) / "packed.tar").read_bytes()


_BRIDGE = (VALID.parent / "bridge_toml" / "valid-all-keys.toml").read_bytes()
_BUNDLE = (VALID.parent / "trust" / "bundles" / "signed.json").read_bytes()
_STORE = VALID.parent / "store"

TARGETS: dict[str, Target] = {
    "manifest": Target(
        lambda path: parse_manifest(path.read_bytes()), _file("tiny-summary", "manifest.json"), json_or_bytes
    ),
    "json": Target(
        lambda path: strict_json.parse(path.read_bytes(), path.name), _file("tiny-ner", "parity.json"), json_or_bytes
    ),
    "onnx": Target(read_onnx, _file("tiny-rerank", "onnx/model_int8.onnx"), mutated_protobuf),
    "rules": Target(
        lambda path: _reads_spacy("rules", path), _file("tiny-spacy", "spacy_tokenizer.json"), json_or_bytes
    ),
    "tables": Target(
        lambda path: _reads_spacy("tables", path), _file("tiny-spacy", "tables.safetensors"), mutated_safetensors
    ),
    "tokenizer": Target(_reads_tokenizer, _file("tiny-embedding", "tokenizer.json"), json_or_bytes),
    "pair_tokenizer": Target(_reads_pair_tokenizer, _file("tiny-rerank", "tokenizer.json"), json_or_bytes),
    "bridge_toml": Target(read_bridge_config, _BRIDGE, mutated_toml),
    "version_record": Target(
        lambda path: VersionRecord.from_bytes(path.read_bytes(), path.name),
        (_STORE / "version.json").read_bytes(),
        json_or_bytes,
    ),
    "tag_record": Target(
        lambda path: TagRecord.from_bytes(path.read_bytes(), path.name),
        (VALID.parent / "trust" / "tags" / "signed.json").read_bytes(),
        json_or_bytes,
    ),
    "bundle": Target(_reads_bundle, _BUNDLE, bundle_or_payload),
    "archive": Target(_reads_archive, _packed(), mutated_tar),
    "store_spec": Target(
        lambda path: Spec.parse(path.read_bytes().decode("utf-8", "replace")),
        (_STORE / "name.txt").read_bytes(),
        mutated_bytes,
    ),
    **{
        f"golden_{family.name}": Target(
            lambda path, kind=family.case: read_golden(path, kind),
            _file(folder.name, "golden.jsonl"),
            json_lines_or_bytes,
        )
        for family, folder in examples().items()
    },
}


def _verify(path: Path) -> None:
    artifact = read_artifact(path)
    check_all(artifact)
    runtime_of(artifact.family).load_preprocessor(artifact)


def _replay(path: Path) -> None:
    _verify(path)
    try:
        replay(read_artifact(path))
    except OnnxMlBridgeError as error:
        raise ArtifactError(refusal_code(error), str(error)) from error


# What both languages answer, by the words that the example `verdicts` of the crate knows
WHOLE: dict[str, Callable[[Path], Any]] = {"verify": _verify, "replay": _replay, "bridge": open_bridge}

"""Makes the signatures in this folder, which both languages judge: python tests/golden/trust/make.py

The artifact is tests/golden/valid/tiny-embedding. `cases.json` has, for each bundle and each record of a tag, whether
the key `trusted.pub` accepts it. The keys and signatures are new after every run.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from onnx_ml_bridge.artifacts.checks import read_artifact
from onnx_ml_bridge.artifacts.store.records import TAG_PAYLOAD_TYPE, TagRecord
from onnx_ml_bridge.artifacts.trust.keys import PrivateKey
from onnx_ml_bridge.artifacts.trust.signing import sign

HERE = Path(__file__).parent
TINY = HERE.parent / "valid" / "tiny-embedding"
PAYLOAD_TYPE = "application/vnd.in-toto+json"


def make_key(folder: Path, name: str) -> PrivateKey:
    path = folder / f"{name}.key"
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path], check=True)
    public = ["openssl", "ec", "-in", path, "-pubout", "-out", HERE / f"{name}.pub"]
    subprocess.run(public, check=True, stderr=subprocess.DEVNULL)
    return PrivateKey.read(path)


def signed_again(bundle: dict[str, Any], key: PrivateKey, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Return a bundle whose statement was changed and signed again."""
    envelope = bundle["dsseEnvelope"]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    change(statement)
    payload = json.dumps(statement).encode()
    signature = {"sig": key.sign(PAYLOAD_TYPE, payload), "keyid": ""}
    changed = {"payload": base64.b64encode(payload).decode(), "signatures": [signature]}
    return bundle | {"dsseEnvelope": envelope | changed}


def flipped(text: str) -> str:
    raw = bytearray(base64.b64decode(text))
    raw[len(raw) // 2] ^= 1
    return base64.b64encode(bytes(raw)).decode()


def bundles(bundle: dict[str, Any], other: dict[str, Any], key: PrivateKey) -> dict[str, tuple[Any, bool]]:
    envelope = bundle["dsseEnvelope"]
    signature = envelope["signatures"][0]

    def with_envelope(**changes: Any) -> dict[str, Any]:
        return bundle | {"dsseEnvelope": envelope | changes}

    def changed(change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        return signed_again(bundle, key, change)

    def resources(statement: dict[str, Any]) -> list[dict[str, str]]:
        return statement["predicate"]["resources"]

    return {
        "signed": (bundle, True),
        "signed-again": (changed(lambda statement: None), True),
        "other-key": (other, False),
        "flipped-signature": (with_envelope(signatures=[signature | {"sig": flipped(signature["sig"])}]), False),
        "flipped-payload": (with_envelope(payload=flipped(envelope["payload"])), False),
        "no-signature": (with_envelope(signatures=[]), False),
        "two-signatures": (with_envelope(signatures=[signature, signature]), False),
        "not-base64": (with_envelope(payload="***"), False),
        "other-payload-type": (with_envelope(payloadType="application/json"), False),
        "other-media-type": (bundle | {"mediaType": "application/json"}, False),
        "removed-file": (changed(lambda statement: resources(statement).pop()), False),
        "added-file": (changed(lambda s: resources(s).append(resources(s)[0] | {"name": "extra"})), False),
        "other-digest": (changed(lambda statement: resources(statement)[0].update(digest="ab" * 32)), False),
        "file-twice": (changed(lambda statement: resources(statement).append(resources(statement)[0])), False),
        "other-algorithm": (changed(lambda statement: resources(statement)[0].update(algorithm="sha512")), False),
        "other-statement": (changed(lambda statement: statement.update(_type="https://example.com")), False),
        "other-predicate": (changed(lambda statement: statement.update(predicateType="https://example.com")), False),
        "shards": (changed(lambda s: s["predicate"]["serialization"].update(method="shards")), False),
        "no-envelope": ({"mediaType": bundle["mediaType"]}, False),
        "list": ([bundle], False),
    }


def tags(identity: str, key: PrivateKey, other: PrivateKey) -> dict[str, tuple[TagRecord, bool]]:
    record = TagRecord("1.0.0", identity, 3, ("0.9.0",))

    def signed(each: TagRecord, by: PrivateKey, **changes: Any) -> TagRecord:
        signature = by.sign(TAG_PAYLOAD_TYPE, each.payload("tiny-embedding", "stable"))
        fields = {"version": each.version, "identity": each.identity, "revision": each.revision} | changes
        return TagRecord(**fields, previous=each.previous, signatures={key.public.hash: signature})

    elsewhere = {key.public.hash: key.sign(TAG_PAYLOAD_TYPE, record.payload("tiny-embedding", "latest"))}
    return {
        "signed": (signed(record, key), True),
        "unsigned": (record, False),
        "other-key": (signed(record, other), False),
        "other-revision": (signed(record, key, revision=4), False),
        "other-version": (signed(record, key, version="1.0.1"), False),
        "other-identity": (signed(record, key, identity="ab" * 32), False),
        "other-tag": (TagRecord("1.0.0", identity, 3, ("0.9.0",), elsewhere), False),
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        trusted, other = make_key(folder, "trusted"), make_key(folder, "other")
        artifact = shutil.copytree(TINY, folder / "tiny-embedding")
        by_trusted, by_other = (json.loads(sign(artifact, key.path).read_bytes()) for key in (trusted, other))
        identity = read_artifact(artifact).identity
        found: dict[str, Any] = {"bundles": {}, "tags": {}, "key": trusted.public.hash}
        for kind in ("bundles", "tags"):
            shutil.rmtree(HERE / kind, ignore_errors=True)
            (HERE / kind).mkdir()
        for name, (bundle, is_valid) in bundles(by_trusted, by_other, trusted).items():
            (HERE / "bundles" / f"{name}.json").write_text(json.dumps(bundle) + "\n")
            found["bundles"][name] = is_valid
        for name, (record, is_valid) in tags(identity, trusted, other).items():
            (HERE / "tags" / f"{name}.json").write_bytes(record.to_bytes())
            found["tags"][name] = is_valid
    (HERE / "cases.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())

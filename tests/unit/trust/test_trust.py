"""Keys, bundles of artifacts and signatures of tags: what is not exactly signed by a trusted key is refused."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_ml_bridge import ArtifactError, BridgeOptions, ConfigError, Embedder, Store, open_bridge, verify
from onnx_ml_bridge.artifacts.checks import read_artifact
from onnx_ml_bridge.artifacts.store.layout import tag_key
from onnx_ml_bridge.artifacts.store.records import TagRecord
from onnx_ml_bridge.artifacts.trust.bundles import verify_bundle
from onnx_ml_bridge.artifacts.trust.enforced import check_bundle, check_signed, check_tag, signed_files, tag_signer
from onnx_ml_bridge.artifacts.trust.keys import PASSWORD_VARIABLE, PrivateKey, PublicKey
from onnx_ml_bridge.artifacts.trust.signing import sign
from onnx_ml_bridge.cli.main import create_app
from store_files import NAME, sealed_version
from typer.testing import CliRunner

pytestmark = pytest.mark.families("sentence_embedding")
VECTORS = Path(__file__).parents[2] / "golden" / "trust"
TINY = VECTORS.parent / "valid" / "tiny-embedding"
CASES = json.loads((VECTORS / "cases.json").read_bytes())
MODEL_SIGNING = [sys.executable, "-m", "model_signing"]


def make_keys(folder: Path, name: str, *options: str) -> tuple[Path, Path]:
    """Make a key pair with the command openssl; return the paths of the private and the public key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    subprocess.run(["openssl", "genpkey", *options, "-out", private], check=True, stderr=subprocess.DEVNULL)
    source = ["-in", private, "-passin", "pass:secret"]
    subprocess.run(["openssl", "pkey", *source, "-pubout", "-out", public], check=True)
    return private, public


P256 = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> tuple[Path, Path]:
    return make_keys(tmp_path_factory.mktemp("keys"), "ci", *P256)


@pytest.fixture(scope="module")
def other_keys(tmp_path_factory) -> tuple[Path, Path]:
    return make_keys(tmp_path_factory.mktemp("keys"), "other", *P256)


@pytest.fixture
def artifact(tmp_path) -> Path:
    return shutil.copytree(TINY, tmp_path / "artifact")


def refused(action: object) -> str:
    with pytest.raises(ArtifactError) as caught:
        action()  # type: ignore[operator]
    assert caught.value.code == "signature"
    return str(caught.value)


# -- The shared vectors


@pytest.mark.parametrize("name", CASES["bundles"])
def test_bundles_of_the_shared_cases(name):
    raw, key = (VECTORS / "bundles" / f"{name}.json").read_bytes(), PublicKey.read(VECTORS / "trusted.pub")
    if CASES["bundles"][name]:
        check_bundle(raw, key, read_artifact(TINY))
    else:
        with pytest.raises(ValueError):
            check_bundle(raw, key, read_artifact(TINY))


@pytest.mark.parametrize("name", CASES["tags"])
def test_tags_of_the_shared_cases(name):
    record = TagRecord.from_bytes((VECTORS / "tags" / f"{name}.json").read_bytes(), name)
    trusted = [PublicKey.read(VECTORS / "trusted.pub")]
    if CASES["tags"][name]:
        check_tag(record, NAME, "stable", trusted)
    else:
        refused(lambda: check_tag(record, NAME, "stable", trusted))


def test_a_flipped_bit_anywhere_in_a_bundle_is_refused_or_changes_nothing_that_is_signed():
    raw, key = (VECTORS / "bundles" / "signed.json").read_bytes(), PublicKey.read(VECTORS / "trusted.pub")
    files, source, accepted = signed_files(read_artifact(TINY)), random.Random(5), []
    for index in source.sample(range(len(raw)), 600):
        changed = bytearray(raw)
        changed[index] ^= 1 << source.randrange(8)
        try:
            verify_bundle(bytes(changed), key, files)
            accepted.append(index)
        except ValueError:
            continue
    envelope = raw.index(b'"dsseEnvelope"')
    signed = (raw.index(b'"payload"', envelope), raw.index(b'"keyid"', envelope))
    assert [index for index in accepted if signed[0] <= index < signed[1]] == []


@given(st.binary(max_size=200) | st.recursive(st.none() | st.text(), st.lists).map(json.dumps).map(str.encode))
def test_any_bytes_are_refused_with_a_reason(raw):
    with pytest.raises(ValueError):
        verify_bundle(raw, PublicKey.read(VECTORS / "trusted.pub"), {})


# -- The command of OpenSSF Model Signing


def test_its_bundles_are_ours(artifact, keys, tmp_path):
    private, public = keys
    bundle = tmp_path / "bundle.json"
    command = [*MODEL_SIGNING, "sign", "key", artifact, "--signature", bundle, "--private_key", private]
    subprocess.run(command, check=True, capture_output=True)
    check_bundle(bundle.read_bytes(), PublicKey.read(public), read_artifact(artifact))


def test_it_verifies_our_bundles(artifact, keys):
    private, public = keys
    bundle = sign(artifact, private)
    command = [*MODEL_SIGNING, "verify", "key", artifact, "--signature", bundle, "--public_key", public]
    subprocess.run(command, check=True, capture_output=True)
    (artifact / "extra").write_bytes(b"more")
    assert subprocess.run(command, capture_output=True).returncode != 0


# -- Artifacts


def test_what_is_not_signed_by_a_trusted_key_is_not_opened(artifact, keys, other_keys):
    trusting = BridgeOptions(trusted_keys=[keys[1]])
    assert "no signature" in refused(lambda: Embedder.open(artifact, trusting))
    sign(artifact, other_keys[0])
    refused(lambda: Embedder.open(artifact, trusting))
    refused(lambda: verify(artifact, keys=[keys[1]]))
    sign(artifact, keys[0])
    assert Embedder.open(artifact, trusting).info.identity == read_artifact(artifact).identity
    assert Embedder.open(artifact, BridgeOptions(trusted_keys=[other_keys[1], keys[1]])).info.name
    assert Embedder.open(artifact).info.name


def test_commands_open_what_a_key_has_signed(artifact, keys, other_keys):
    sign(artifact, keys[0])

    def invoke(*arguments: object) -> tuple[int, str]:
        result = CliRunner().invoke(create_app(), [str(each) for each in arguments], input='"hello"\n')
        return result.exit_code, result.output

    for command in (("embed", "--model", artifact), ("verify", artifact)):
        assert invoke(*command, "--key", other_keys[1], "--key", keys[1])[0] == 0
        status, output = invoke(*command, "--key", other_keys[1])
        assert status == 3 and "signature" in output


def test_a_bundle_of_another_artifact_is_refused(artifact, keys, tmp_path):
    other = tmp_path / "other"
    sealed_version(other, "2.0.0")
    bundle = sign(other, keys[0])
    (tmp_path / "artifact.signatures").mkdir()
    shutil.copy(bundle, tmp_path / "artifact.signatures" / bundle.name)
    assert "other files" in refused(lambda: check_signed(read_artifact(artifact), [PublicKey.read(keys[1])]))


def test_a_bridge_refuses_unsigned_models_also_in_a_reload(artifact, keys, tmp_path):
    (tmp_path / "ci.pub").write_bytes(keys[1].read_bytes())
    config = '[bridge]\ntrusted_keys = ["ci.pub"]\n[models.tiny]\npath = "artifact"\n'
    (tmp_path / "bridge.toml").write_text(config)
    refused(lambda: open_bridge(tmp_path / "bridge.toml"))
    sign(artifact, keys[0])
    with open_bridge(tmp_path / "bridge.toml") as bridge:
        sealed_version(tmp_path / "new", "2.0.0", name=NAME)
        refused(lambda: bridge.reload("tiny", tmp_path / "new"))
        assert bridge.models()[0].version == "1.0.0" and bridge.embedder("tiny").embed(["a"]).vectors.shape[0] == 1
        sign(tmp_path / "new", keys[0])
        assert bridge.reload("tiny", tmp_path / "new").version == "2.0.0"


# -- Stores


@pytest.fixture
def published(tmp_path, keys) -> Store:
    """A store of two signed versions; the tag `stable` was moved from the first to the second."""
    signer = tag_signer(PrivateKey.read(keys[0]))
    store = Store(tmp_path / "store")
    for version in ("1.0.0", "1.1.0"):
        sealed_version(tmp_path / version, version)
        sign(tmp_path / version, keys[0])
        store.publish(tmp_path / version, tags=["stable"], sign=signer)
    return store


def test_a_store_with_keys(published, tmp_path, keys, other_keys):
    store = Store(tmp_path / "store", keys=[keys[1]], cache=tmp_path / "cache")
    assert store.resolve(f"{NAME}@stable").version == "1.1.0"
    assert store.pull(f"{NAME}@stable").is_dir() and store.pull(f"{NAME}@1.0.0").is_dir()
    others = Store(tmp_path / "store", keys=[other_keys[1]], cache=tmp_path / "cache-2")
    for spec in (f"{NAME}@stable", f"{NAME}@1.0.0"):
        refused(lambda spec=spec: others.pull(spec))
    published.promote(NAME, "1.0.0", "unsigned")
    refused(lambda: store.pull(f"{NAME}@unsigned"))


def test_publishing_and_promoting_again_with_a_new_key_changes_the_key(published, tmp_path, keys, other_keys):
    old, new = (tag_signer(PrivateKey.read(pair[0])) for pair in (keys, other_keys))
    sign(tmp_path / "1.1.0", other_keys[0])
    assert not published.publish(tmp_path / "1.1.0").is_new
    reader = Store(tmp_path / "store", keys=[other_keys[1]], cache=tmp_path / "cache")
    refused(lambda: reader.pull(f"{NAME}@stable"))
    assert published.promote(NAME, "1.1.0", "stable", sign=old).revision == 2
    assert published.promote(NAME, "1.1.0", "stable", sign=new).revision == 3
    assert reader.resolve(f"{NAME}@stable").version == "1.1.0" and reader.pull(f"{NAME}@stable").is_dir()
    for signer in (new, None):
        assert published.promote(NAME, "1.1.0", "stable", sign=signer).revision == 3
    both = Store(tmp_path / "store", keys=[keys[1], other_keys[1]], cache=tmp_path / "cache-2")
    assert both.pull(f"{NAME}@stable").is_dir()
    assert published.rollback(NAME, "stable", sign=new).version == "1.0.0"


def test_a_tag_has_the_signatures_of_all_keys_that_sign_it(published, keys, other_keys):
    old, new = (tag_signer(PrivateKey.read(pair[0])) for pair in (keys, other_keys))

    def sign_twice(payload):
        return {**old(payload), **new(payload)}

    assert published.promote(NAME, "1.1.0", "stable", sign=sign_twice).revision == 3
    for signer in (old, new, sign_twice):
        assert published.promote(NAME, "1.1.0", "stable", sign=signer).revision == 3


def test_the_command_promote_signs_with_a_new_key(published, tmp_path, keys, other_keys):
    command = ["promote", NAME, "1.1.0", "stable", "--store", str(tmp_path / "store"), "--json", "--key"]
    reader = Store(tmp_path / "store", keys=[other_keys[1]], cache=tmp_path / "cache")
    for private, revision in ((keys[0], 2), (other_keys[0], 3), (other_keys[0], 3)):
        result = CliRunner().invoke(create_app(), [*command, str(private)])
        assert (result.exit_code, json.loads(result.stdout)["revision"]) == (0, revision)
    assert reader.resolve(f"{NAME}@stable").version == "1.1.0"


def test_an_old_signed_record_cannot_be_put_back(published, tmp_path, keys):
    path = tmp_path / "store" / tag_key(NAME, "stable")
    new = path.read_bytes()
    store = Store(tmp_path / "store", keys=[keys[1]], cache=tmp_path / "cache")
    signer = tag_signer(PrivateKey.read(keys[0]))
    first = TagRecord("1.0.0", store.resolve(f"{NAME}@1.0.0").identity)
    old = TagRecord(first.version, first.identity, 1, (), dict(signer(first.payload(NAME, "stable")))).to_bytes()
    path.write_bytes(old)
    assert store.pull(f"{NAME}@stable").name == first.identity, "a reader that never saw the tag cannot notice"
    path.write_bytes(new)
    assert store.resolve(f"{NAME}@stable").version == "1.1.0"
    path.write_bytes(old)
    assert "older" in refused(lambda: store.pull(f"{NAME}@stable"))
    assert "older" in refused(lambda: store.resolve(f"{NAME}@stable"))
    path.write_bytes(new)
    assert store.rollback(NAME, "stable", sign=signer).revision == 3
    assert store.pull(f"{NAME}@stable").name == first.identity


def test_a_bundle_that_was_exchanged_in_the_store_is_refused(published, tmp_path, keys):
    store = Store(tmp_path / "store", keys=[keys[1]], cache=tmp_path / "cache")
    first, second = (store.resolve(f"{NAME}@{version}").identity for version in ("1.0.0", "1.1.0"))
    bundles = tmp_path / "store" / "signatures"
    for path in (bundles / second).iterdir():
        shutil.copy(bundles / first / path.name, path)
    refused(lambda: store.pull(f"{NAME}@1.1.0"))
    assert store.pull(f"{NAME}@1.0.0").name == first


# -- Keys


@pytest.mark.parametrize(
    "options",
    [
        ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"),
        ("-algorithm", "ED25519"),
        ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
    ],
)
def test_other_kinds_of_keys_are_refused(options, tmp_path):
    private, public = make_keys(tmp_path, "key", *options)
    for read, path in ((PublicKey.read, public), (PrivateKey.read, private)):
        with pytest.raises(ConfigError, match="P-256"):
            read(path)


def test_what_is_no_key_is_refused(tmp_path, keys):
    private, public = keys
    (tmp_path / "empty").write_bytes(b"")
    for read, path in ((PublicKey.read, private), (PrivateKey.read, public), (PublicKey.read, tmp_path / "empty")):
        with pytest.raises(ConfigError):
            read(path)
    with pytest.raises(ConfigError, match="trusted_keys"):
        Embedder.open(TINY, BridgeOptions(trusted_keys=str(public)))


def test_the_password_of_a_key_is_in_the_environment(artifact, tmp_path, monkeypatch):
    private, public = make_keys(tmp_path, "locked", *P256, "-aes256", "-pass", "pass:secret")
    for password in (None, "wrong"):
        monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
        if password is not None:
            monkeypatch.setenv(PASSWORD_VARIABLE, password)
        with pytest.raises(ConfigError) as caught:
            sign(artifact, private)
        assert "secret" not in str(caught.value)
    monkeypatch.setenv(PASSWORD_VARIABLE, "secret")
    assert sign(artifact, private).stem == PublicKey.read(public).hash

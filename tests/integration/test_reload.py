"""A reload replaces a model under running calls, and after a refused one the old version answers as before."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from examples import VALID
from lanes import wait_for
from onnx_ml_bridge import (
    ArtifactError,
    BridgeOptions,
    ClosedError,
    ConfigError,
    Embedder,
    InputError,
    Model,
    OnnxMlBridge,
    OnnxMlBridgeError,
    SummarizeOptions,
)
from onnx_ml_bridge.runtime import verify
from onnx_ml_bridge.runtime.meter import all_numbers
from versions import copy_of, not_a_number, version_of

pytestmark = pytest.mark.families("sentence_embedding", "token_classification", "summarization")
EMBEDDING, NER = VALID / "tiny-embedding", VALID / "tiny-ner"
DATA = "onnx/model.onnx_data"
TEXTS = ["the cat, Ann (Bo) on Paris!", "a big red house sings"]
SECONDS = 4.0


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    """A valid second version of the embedding model."""
    return version_of("tiny-embedding", tmp_path_factory.mktemp("second") / "model")


def open_embedder(path=EMBEDDING, **fields):
    return Embedder.open(Model(path, "minilm", variant="fp32", **fields), BridgeOptions(threads=1))


def identity_of(folder):
    return (folder / "manifest.sha256").read_text().split()[0]


@contextmanager
def load_of(call, threads=3):
    """Call in several threads until the context ends; no call may fail."""
    ended = threading.Event()
    done = [0] * threads

    def work(number):
        while not ended.is_set():
            call()
            done[number] += 1

    with ThreadPoolExecutor(threads) as pool:
        works = [pool.submit(work, number) for number in range(threads)]
        try:
            yield done
        finally:
            ended.set()
            for each in works:
                each.result()


# -- Accepted versions


@pytest.mark.parametrize("loaded", [True, False])
def test_a_reload_replaces_the_version_behind_all_handles(second, loaded):
    bridge = OnnxMlBridge.open(Model(EMBEDDING, "minilm", variant="fp32"), NER, defaults={"embedding": "minilm"})
    embedder = bridge.embedder()
    if loaded:
        embedder.warm_up()
    old = embedder._slot._current()
    info = bridge.reload("minilm", second, expect_identity=identity_of(second), timeout=60)
    assert (info.name, info.version, info.identity, info.path) == ("minilm", "2.0.0", identity_of(second), str(second))
    assert bridge.embedder() is embedder and embedder.info == info == bridge.models()[0]
    assert (old.resident.is_loaded, embedder._slot.state) == (False, "ready" if loaded else "unloaded")
    assert embedder.embed(TEXTS) == open_embedder().embed(TEXTS)
    assert bridge.reload("minilm", EMBEDDING, expect_identity=identity_of(EMBEDDING)).version == "1.0.0"
    assert bridge.reload("minilm").version == "1.0.0"


def test_files_that_were_replaced_are_read_by_a_reload_without_a_path(tmp_path, second):
    folder = copy_of("tiny-embedding", tmp_path / "model")
    embedder = open_embedder(folder)
    expected = embedder.embed(TEXTS)
    folder.rename(tmp_path / "old")
    shutil.copytree(second, folder)
    assert embedder.embed(TEXTS) == expected and embedder.info.version == "1.0.0"
    assert embedder.reload().version == "2.0.0"
    embedder.unload()
    assert embedder.embed(TEXTS) == expected


def test_only_the_variant_in_use_is_replayed(tmp_path):
    broken = version_of("tiny-embedding", tmp_path / "model", changes={"onnx/model_int8.onnx_data": not_a_number})
    assert open_embedder().reload(broken).version == "2.0.0"
    with pytest.raises(ArtifactError):
        Embedder.open(Model(EMBEDDING, variant="int8")).reload(broken)


def test_a_running_call_ends_with_the_old_version(tmp_path):
    newer = version_of("tiny-summary", tmp_path / "model")
    bridge = OnnxMlBridge.open(Model(VALID / "tiny-summary", variant="fp32"))
    summarizer, started, may_end = bridge.summarizer(), threading.Event(), threading.Event()

    def progress(done, total):
        started.set()
        assert may_end.wait(60)

    with ThreadPoolExecutor(1) as pool:
        options = SummarizeOptions(num_beams=1, min_length=0, max_length=4)
        expected = summarizer.summarize([["the cat sings"]], options)
        slow = SummarizeOptions(num_beams=1, min_length=0, max_length=4, progress=progress)
        call = pool.submit(summarizer.summarize, [["the cat sings"]], slow)
        assert started.wait(60)
        old = summarizer._slot._current().resident
        assert bridge.reload("tiny-summary", newer).version == "2.0.0"
        assert old.is_loaded and summarizer.summarize([["the cat sings"]], options) == expected
        may_end.set()
        assert call.result() == expected
    assert not old.is_loaded


def test_reloads_back_to_back_under_load_lose_no_call(second):
    """Reloads follow each other for some seconds; ONNX_ML_BRIDGE_RELOAD_SECONDS sets another time."""
    seconds = float(os.environ.get("ONNX_ML_BRIDGE_RELOAD_SECONDS", SECONDS))
    bridge = OnnxMlBridge.open(Model(EMBEDDING, "minilm", variant="fp32"), options=BridgeOptions(threads=1))
    expected, reloads, end = bridge.embedder().embed(TEXTS), 0, time.monotonic() + seconds

    def call():
        assert bridge.embedder("minilm").embed(TEXTS) == expected

    with load_of(call) as done:
        while time.monotonic() < end or reloads < 2:
            bridge.reload("minilm", (second, EMBEDDING)[reloads % 2])
            reloads += 1
    assert min(done) > 0
    print(f"{reloads} reloads, {sum(done)} calls")
    assert sum(numbers.loaded for meter, numbers in all_numbers().items() if meter.model == "tiny-embedding") >= 1


def test_unloads_after_reloads_of_a_replaced_folder_lose_no_call(tmp_path, second):
    """The old version cannot be loaded any more, because its files are gone."""
    folder = copy_of("tiny-embedding", tmp_path / "model")
    embedder = open_embedder(folder)
    expected = embedder.embed(TEXTS)

    def call():
        assert embedder.embed(TEXTS) == expected

    for number in range(3):
        embedder.warm_up()
        folder.rename(tmp_path / f"old{number}")
        shutil.copytree(second, folder)
        with load_of(call):
            embedder.reload()
            embedder.unload()


# -- Refused versions


def corrupt(folder):
    path = folder / DATA
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")


BAD = {
    "corrupt": (lambda path: corrupt(copy_of("tiny-embedding", path)), {}, "file_hash"),
    "incomplete": (lambda path: (copy_of("tiny-embedding", path) / DATA).unlink(), {}, "file_set"),
    "not a graph": (
        lambda path: version_of("tiny-embedding", path, changes={"onnx/model.onnx": lambda raw: raw[:500]}),
        {},
        "graph",
    ),
    "NaN": (lambda path: version_of("tiny-embedding", path, changes={DATA: not_a_number}), {}, "graph"),
    "other answers": (
        lambda path: version_of("tiny-embedding", path, changes={"golden.jsonl": other_answers}),
        {},
        "golden",
    ),
    "other task": (lambda path: copy_of("tiny-ner", path), {}, "variant"),
    "other identity": (lambda path: version_of("tiny-embedding", path), {"expect_identity": "0a" * 32}, "identity"),
    "slow": (lambda path: version_of("tiny-embedding", path), {"timeout": 0.01}, "timeout"),
    "missing": (lambda path: None, {}, "path_kind"),
}


def other_answers(raw):
    cases = [json.loads(line) for line in raw.splitlines()]
    cases[0]["expected"]["vector"] = cases[0]["expected"]["vector"][::-1]
    return b"".join(json.dumps(case, separators=(",", ":"), sort_keys=True).encode() + b"\n" for case in cases)


@pytest.mark.parametrize("kind", BAD)
def test_after_a_refused_reload_the_old_version_answers(tmp_path, kind):
    make, options, code = BAD[kind]
    make(tmp_path / "new")
    embedder = open_embedder()
    expected, before = embedder.embed(TEXTS), embedder.info
    generation = embedder._slot._current()

    def call():
        assert embedder.embed(TEXTS) == expected

    with load_of(call, threads=2) as done:
        with pytest.raises(OnnxMlBridgeError) as refused:
            embedder.reload(tmp_path / "new", **options)
        # Every thread answers two further calls; the first of them may have begun before the refusal
        before_wait = tuple(done)
        wait_for(lambda: all(after >= count + 2 for count, after in zip(before_wait, done, strict=True)))
    assert refused.value.code == code and str(refused.value)
    assert embedder.info == before and embedder._slot._current() is generation and embedder._slot.state == "ready"


def test_a_slow_replay_is_stopped_by_its_timeout(second, monkeypatch):
    monkeypatch.setattr(verify, "_SILENCE_SECONDS", 0.01)
    with pytest.raises(OnnxMlBridgeError, match="made no progress") as refused:
        open_embedder().reload(second)
    assert refused.value.code == "timeout"


def test_a_pinned_identity_applies_to_reloads_without_another_one(second):
    embedder = open_embedder(identity=identity_of(EMBEDDING))
    with pytest.raises(ArtifactError) as refused:
        embedder.reload(second)
    assert refused.value.code == "identity"
    assert embedder.reload(second, expect_identity=identity_of(second)).version == "2.0.0"
    with pytest.raises(ArtifactError):
        embedder.reload(EMBEDDING)
    assert embedder.reload().version == "2.0.0"


@pytest.mark.parametrize("options", [{"timeout": 0}, {"timeout": -1.0}, {"expect_identity": "x"}, {"path": 5}])
def test_invalid_options_are_refused(options):
    with pytest.raises(ConfigError):
        open_embedder().reload(**options)


def test_a_reload_of_a_model_that_is_closed_meanwhile_is_refused(second, monkeypatch):
    embedder = open_embedder()
    check = verify.check_all
    monkeypatch.setattr(verify, "check_all", lambda artifact: (embedder.close(), check(artifact)))
    with pytest.raises(ClosedError):
        embedder.reload(second)
    assert embedder._slot.state == "closed"


def test_a_name_that_no_model_has_is_refused():
    with pytest.raises(InputError) as refused:
        OnnxMlBridge.open(EMBEDDING).reload("x")
    assert refused.value.code == "model_not_found"

"""bridge.toml: the shared cases, which the Rust tests also read, and the models that a file opens."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from onnx_ml_bridge import ConfigError, Embedder, Model, OnnxMlBridgeError, Recognizer, open_bridge
from onnx_ml_bridge.runtime.bridge_config import read_bridge_config

FOLDER = Path(__file__).parents[1] / "golden/bridge_toml"
CASES: dict[str, str | None] = json.loads((FOLDER / "cases.json").read_text(encoding="utf-8"))
IDENTITY = hashlib.sha256((FOLDER.parent / "valid/tiny-embedding/manifest.json").read_bytes()).hexdigest()
FAMILIES = pytest.mark.families("sentence_embedding", "token_classification", "spacy_ner", "summarization", "rerank")


def code_of(path: Path) -> str | None:
    try:
        open_bridge(path)
    except OnnxMlBridgeError as error:
        return error.code
    return None


def test_every_file_is_a_case():
    assert {path.name for path in FOLDER.glob("*.toml")} == set(CASES) - {"no-such-file.toml"}
    assert sum(code is not None for code in CASES.values()) >= 20


@FAMILIES
@pytest.mark.parametrize("name", CASES)
def test_a_file_has_its_code(name):
    assert code_of(FOLDER / name) == CASES[name]


def test_all_problems_are_named_at_once(tmp_path):
    file = tmp_path / "bridge.toml"
    file.write_text(
        '[bridge]\nthreads = 0\nspeed = 1\n[models.a]\nvariant = 3\n[models.b]\npath = "x"\ndevice = "tpu"\n'
    )
    with pytest.raises(ConfigError) as refused:
        open_bridge(file)
    message = str(refused.value)
    parts = ("bridge.threads", "speed", "models.a", "path", "models.a.variant", "models.b.device", str(file))
    assert all(part in message for part in parts)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[bridge]\nthreads = 1\n", "the file: has neither a [models.NAME] nor a [backend.NAME]"),
        (
            '[backend.a]\nkind = "openai"\nbase_url = "http://localhost/v1"\n',
            "backend.a: has none of embedding, ner, summarization",
        ),
    ],
)
def test_what_is_absent_is_named_without_the_rest_of_the_file(tmp_path, text, problem):
    file = tmp_path / "bridge.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        read_bridge_config(file)
    assert str(refused.value).endswith(f"got {problem}")


def test_a_file_sets_what_a_model_and_a_bridge_have(tmp_path):
    read = read_bridge_config(FOLDER / "valid-all-keys.toml")
    a, b, c = read.models
    assert (a.name, a.variant, a.device, a.timeout) == ("a", "int8", "cpu", 0.001)
    assert (b.identity, b.idle_unload, b.preload, b.merge) == (IDENTITY, 900, False, False)
    assert (b.workers, b.run_tokens, b.max_tokens) == (2, 256, 16)
    assert (a.identity, a.idle_unload, a.workers, a.run_tokens, a.max_tokens, a.merge) == (None,) * 5 + (True,)
    assert (read.options.memory_mb, read.options.max_waiting) == (4096, 16)
    assert (b.timeout, c.timeout, c.variant) == (4294967.295, None, "auto")
    assert (read.options.threads, read.options.text_limit, read.options.beam_limit) == (2, 100_000, 0x2000)
    assert read.options.timeout == 60 and read.defaults == {"embedding": "b", "ner": "c"}


@FAMILIES
def test_the_models_of_a_file_answer_as_alone():
    with open_bridge(FOLDER / "valid-five-models.toml") as bridge:
        infos = bridge.models()
        texts = ["Ann met Bo in Paris.", "the cat sings"]
        assert len(infos) == 5 and [info.name for info in infos] == sorted(info.name for info in infos)
        for info in infos:
            if info.task == "embedding":
                alone = Embedder.open(Model(info.path, variant=info.variant)).embed(texts)
                assert np.array_equal(bridge.embedder(info.name).embed(texts).vectors, alone.vectors)
            if info.task == "ner":
                alone = Recognizer.open(Model(info.path, variant=info.variant)).recognize(texts)
                assert bridge.recognizer(info.name).recognize(texts) == alone
        assert bridge.health_check()

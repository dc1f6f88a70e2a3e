"""Checkpoints that refer to code of their own: the code is never imported, and is ignored only on request."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers.dynamic_module_utils as dynamic_modules
from changed_checkpoints import change_json, change_weights
from onnx_ml_bridge import Embedder
from onnx_ml_bridge.artifacts.checks import read_artifact
from onnx_ml_bridge.artifacts.families.sentence_embedding import SENTENCE_EMBEDDING
from onnx_ml_bridge.artifacts.manifest_sections import IgnoredCodeSpec
from onnx_ml_bridge.cli.build import build
from onnx_ml_bridge.cli.config import ModelConfig
from onnx_ml_bridge.cli.main import create_app
from onnx_ml_bridge.export.remote_code import without_code
from onnx_ml_bridge.export.sentence_embedding.pipeline import load_pipeline
from onnx_ml_bridge.export.source import resolve_source
from onnx_ml_bridge.export.token_classification import load_model
from onnx_ml_bridge.parity.sentence_embedding.original import load_original
from onnx_ml_bridge.parity.token_classification import load_original as load_original_classifier
from refusing import refused
from remote_code import LOCATIONS, TRAP, make_bidirectional, set_trap
from sentence_transformers import SentenceTransformer
from small_encoders import ENCODERS, QWEN2, make_encoder
from small_models import make_model
from small_token_classifiers import make_token_classifier
from typer.testing import CliRunner

pytestmark = pytest.mark.families("sentence_embedding", "token_classification")
every_location = pytest.mark.parametrize("location", LOCATIONS)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("pristine"), "bert")


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("causal"), QWEN2)


@pytest.fixture
def folder(pristine, tmp_path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "model"))


@pytest.fixture
def flag(tmp_path) -> Path:
    """The file that the code of a checkpoint creates when it is imported."""
    return tmp_path / "ran"


@pytest.fixture
def bidirectional(causal, tmp_path, flag) -> Path:
    """A checkpoint of Qwen2 whose own code has attention in both directions."""
    folder = Path(shutil.copytree(causal, tmp_path / "bidirectional"))
    make_bidirectional(folder, flag)
    return folder


@every_location
def test_the_trap_works(folder, flag, location):
    set_trap(folder, location, flag)
    spec = importlib.util.spec_from_file_location(TRAP, folder / f"{TRAP}.py")
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    assert flag.exists()


@every_location
def test_code_is_refused_and_never_runs(folder, flag, location):
    set_trap(folder, location, flag)
    file, keys = LOCATIONS[location]
    with refused("unsafe_checkpoint", file, r"\.".join(map(str, (*keys, "auto_map"))), "ignore_code"):
        resolve_source(f"path:{folder}")
    assert not flag.exists()


@every_location
def test_ignored_code_never_runs(folder, flag, location):
    set_trap(folder, location, flag)
    (reference,) = resolve_source(f"path:{folder}", ignore_code=True).ignored_code
    assert reference.startswith(LOCATIONS[location][0]) and f"{TRAP}.Trap" in reference
    load_pipeline(folder)
    load_original(folder)
    assert not flag.exists()


@every_location
def test_ignored_code_of_a_token_classifier_never_runs(tmp_path, flag, location):
    folder = make_token_classifier(tmp_path / "model", "bert")
    (folder / "modules.json").write_text('[{"idx": 0, "name": "0", "path": "", "type": "any"}]')
    set_trap(folder, location, flag)
    with refused("unsafe_checkpoint", LOCATIONS[location][0]):
        resolve_source(f"path:{folder}")
    assert resolve_source(f"path:{folder}", ignore_code=True).ignored_code
    load_model(folder)
    load_original_classifier(folder, 128)
    assert not flag.exists()


def test_deeper_references_are_found(folder):
    change_json(folder / "1_Pooling/config.json", a=[{"b": {"auto_map": {"AutoModel": "x.Y"}}}])
    with refused("unsafe_checkpoint", "1_Pooling/config.json", r"a\.0\.b\.auto_map", r"x\.Y"):
        resolve_source(f"path:{folder}")


@pytest.mark.parametrize("value", ["x.Y", ["x.Y"], {"AutoModel": 5}])
def test_references_of_any_form_are_found(folder, value):
    change_json(folder / "config.json", auto_map=value)
    with refused("unsafe_checkpoint", "config.json"):
        resolve_source(f"path:{folder}")


def test_tokens_and_empty_references_are_no_code(folder):
    (folder / "added_tokens.json").write_text('{"auto_map": 5}')
    change_json(folder / "config.json", auto_map={})
    assert resolve_source(f"path:{folder}").ignored_code == ()


def test_a_configuration_that_is_nested_too_deeply(folder):
    (folder / "more.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    with refused("source", "more.json"):
        resolve_source(f"path:{folder}")


def test_code_that_transformers_has_ported_is_accepted(tmp_path, flag):
    folder = make_encoder(tmp_path, ENCODERS["nomic-bert"])
    set_trap(folder, "config.json", flag)
    assert resolve_source(f"path:{folder}").ignored_code == ()
    load_pipeline(folder)
    assert not flag.exists()
    set_trap(folder, "tokenizer_config.json", flag)  # the port is that of the model
    with refused("unsafe_checkpoint", "tokenizer_config.json"):
        resolve_source(f"path:{folder}")


@pytest.mark.parametrize(
    ("name", "changes", "ignored"),
    [
        ("nomic-bert", {"rotary_scaling_factor": 2}, "rotary_scaling_factor = 2"),
        ("nomic-bert", {"rotary_emb_base": 10_000}, "rotary_emb_base = 10000"),
        ("nomic-bert", {"rotary_emb_fraction": 0.5}, "rotary_emb_fraction = 0.5"),
        ("nomic-bert", {"activation_function": "geglu"}, "activation_function = 'geglu'"),
        ("nomic-bert", {"layer_norm_epsilon": 1e-5}, "layer_norm_epsilon = 1e-05"),
        ("nomic-bert", {"n_head": 8, "prenorm": True}, "n_head = 8, prenorm = True"),
        ("jina-embeddings-v3", {"rotary_emb_base": 10_000.0}, "rotary_emb_base = 10000.0"),
        ("gte", {"position_embedding_type": "absolute"}, "position_embedding_type = 'absolute'"),
        ("gte", {"logn_attention_scale": True}, "logn_attention_scale = True"),
        ("eurobert", {"clf_pooling": "mean"}, "clf_pooling = 'mean'"),
    ],
)
def test_code_with_settings_that_its_port_ignores_is_refused(tmp_path, flag, name, changes, ignored):
    folder = make_encoder(tmp_path, ENCODERS[name])
    set_trap(folder, "config.json", flag)
    change_json(folder / "config.json", **changes)
    with refused("unsafe_checkpoint", f"; transformers' class ignores {ignored}", "ignore_code"):
        resolve_source(f"path:{folder}")
    (reference,) = resolve_source(f"path:{folder}", ignore_code=True).ignored_code
    assert ignored in reference and not flag.exists()


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("nomic-bert", {"rotary_emb_base": 1000, "rotary_emb_fraction": 1, "rotary_scaling_factor": None}),
        ("nomic-bert", {"activation_function": "swiglu", "layer_norm_epsilon": 1e-12, "n_head": 4, "prenorm": False}),
        ("nomic-bert", {"rotary_emb_base": 7, "rope_parameters": {"rope_type": "default", "rope_theta": 7.0}}),
        ("nomic-bert", {"layer_norm_epsilon": 1e-5, "layer_norm_eps": 1e-5}),
        ("gte", {"position_embedding_type": "rope", "layer_norm_type": "layer_norm"}),
    ],
)
def test_code_with_the_settings_of_its_port_is_accepted(tmp_path, flag, name, changes):
    folder = make_encoder(tmp_path, ENCODERS[name])
    set_trap(folder, "config.json", flag)
    change_json(folder / "config.json", **changes)
    assert resolve_source(f"path:{folder}").ignored_code == ()


def test_a_type_that_transformers_does_not_have(folder, flag):
    set_trap(folder, "config.json", flag)
    change_json(folder / "config.json", model_type="new")
    assert resolve_source(f"path:{folder}", ignore_code=True)
    with refused("unsupported_model", "'new'", "transformers has no class"):
        load_pipeline(folder)
    with refused("unsupported_model", "'new'", "transformers has no class"):
        load_model(folder)
    assert not flag.exists()


def test_a_custom_module_is_refused_even_if_code_is_ignored(folder, flag):
    set_trap(folder, "config.json", flag)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = f"{TRAP}.Trap"
    (folder / "modules.json").write_text(json.dumps(modules))
    assert resolve_source(f"path:{folder}", ignore_code=True)
    with refused("unsupported_model", f"{TRAP}.Trap"):
        load_pipeline(folder)
    assert not flag.exists()


WEIGHT = "embeddings.position_embeddings.weight"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda weights: {name: weights[name] for name in weights if name != WEIGHT}, ["missing", WEIGHT]),
        (lambda weights: {**weights, "encoder.layer.0.gate.weight": weights[WEIGHT].clone()}, ["unexpected", "gate"]),
        (lambda weights: {**weights, WEIGHT: weights[WEIGHT][:9].clone()}, ["another shape", WEIGHT, "9, 32"]),
    ],
)
def test_weights_that_do_not_fit_are_refused(folder, change, words):
    change_weights(folder, change)
    with refused("unsupported_model", *words):
        load_pipeline(folder)


def test_poolers_may_be_missing(folder):
    change_weights(folder, lambda weights: {name: weights[name] for name in weights if "pooler" not in name})
    assert load_pipeline(folder)


def test_references_are_removed_from_copied_configurations():
    config = {"auto_map": {"AutoModel": "x.Y"}, "nested": [{"auto_map": 1, "kept": 2}]}
    assert without_code(config) == {"nested": [{"kept": 2}]}


def test_the_code_of_the_bidirectional_checkpoint_computes_other_vectors(bidirectional, flag, tmp_path, monkeypatch):
    """The classes have the same weights, so nothing but the reference to code shows that the causal one is wrong."""
    monkeypatch.setattr(dynamic_modules, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    own = SentenceTransformer(str(bidirectional), device="cpu", local_files_only=True, trust_remote_code=True)
    assert flag.exists()
    flag.unlink()
    native = load_pipeline(bidirectional)
    first, second = (pipeline.encode(["Kofi Annan met Ada in Paris."]) for pipeline in (own, native))
    assert np.abs(first - second).max() > 0.01 and not flag.exists()


def config_of(folder: Path, **options: Any) -> ModelConfig:
    return ModelConfig(
        name="bidirectional",
        version="1",
        source=f"path:{folder}",
        task="sentence-embedding",
        options=options,
        variants=["fp32"],
    )


def test_the_bidirectional_checkpoint_is_refused(bidirectional, tmp_path, flag):
    with refused("unsafe_checkpoint", "config.json", "BidirectionalModel", "ignore_code"):
        build(config_of(bidirectional), tmp_path / "dist", lambda stage: None)
    assert not flag.exists() and not (tmp_path / "dist" / "bidirectional").exists()


def test_the_ignored_code_is_stated_everywhere(bidirectional, tmp_path, flag):
    built = build(config_of(bidirectional, ignore_code=True), tmp_path / "dist", lambda stage: None)
    assert built.path is not None and built.report is not None and not flag.exists()
    artifact = read_artifact(Path(built.path))
    (reference,) = artifact.manifest.section(IgnoredCodeSpec).references
    assert "config.json (auto_map:" in reference and f"{TRAP}.BidirectionalModel" in reference
    fact = SENTENCE_EMBEDDING.facts(artifact.manifest)["code"]
    assert fact.startswith("proven against transformers' own class, the checkpoint's code ignored: config.json")
    assert f"- Code: {fact}." in (artifact.root / "README.md").read_text()
    assert "code ignored: config.json" in Path(built.report).read_text()
    shown = CliRunner().invoke(create_app(), ["show", built.path])
    assert "code ignored" in shown.output
    assert "auto_map" not in (artifact.root / "config.json").read_text()
    assert Embedder.open(built.path).embed(["a"]).vectors.shape == (1, artifact.manifest.sections["embedding"].dim)

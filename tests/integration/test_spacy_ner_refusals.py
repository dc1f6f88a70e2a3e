"""spaCy pipelines that cannot be reproduced are refused; the error names the reason, and no file is written."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from onnx_ml_bridge.cli.build import build
from onnx_ml_bridge.cli.config import ModelConfig
from onnx_ml_bridge.export.source import resolve_source
from onnx_ml_bridge.export.spacy_ner.pipeline import export_pipeline, load_pipeline
from refusing import refused
from small_pipelines import ATTRIBUTES, make_pipeline
from spacy.attrs import LOWER, NORM, SHAPE
from spacy.language import Language
from spacy.pipeline import EntityRecognizer
from spacy.tokenizer import Tokenizer
from spacy.vectors import Vectors
from thinc.api import Model


@Language.component("changes_something")
def changes_something(doc: Any) -> Any:
    return doc


@pytest.fixture
def nlp() -> Language:
    return make_pipeline()


@pytest.fixture
def staging(tmp_path) -> Iterator[Path]:
    """A staging folder that must still be empty after a refused export."""
    folder = tmp_path / "staging"
    folder.mkdir()
    yield folder
    assert not list(folder.iterdir())


def embedder(kind: str, **settings: Any) -> dict[str, Any]:
    return {"@architectures": f"spacy.{kind}", "width": 12, "include_static_vectors": False, **settings}


def with_network(embed: dict[str, Any] | None = None, encode: dict[str, Any] | None = None, **state: Any) -> Language:
    """Return a blank pipeline whose `ner` has a network that the helper `make_pipeline` cannot create."""
    usual = {
        "@architectures": "spacy.MaxoutWindowEncoder.v2",
        "width": 12,
        "depth": 1,
        "window_size": 1,
        "maxout_pieces": 2,
    }
    tok2vec = {
        "@architectures": "spacy.Tok2Vec.v2",
        "encode": encode or usual,
        "embed": embed or embedder("MultiHashEmbed.v2", attrs=["NORM"], rows=[50]),
    }
    network = {
        "@architectures": "spacy.TransitionBasedParser.v2",
        "state_type": "ner",
        "extra_state_tokens": False,
        "hidden_width": 8,
        "maxout_pieces": 2,
        "use_upper": True,
        "tok2vec": tok2vec,
        **state,
    }
    nlp = spacy.blank("en")
    nlp.add_pipe("ner", config={"model": network}).add_label("PLACE")
    nlp.initialize()
    return nlp


def test_the_unmodified_pipeline_is_accepted(tmp_path):
    assert export_pipeline(with_network(), tmp_path).spec.labels == ("PLACE",)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: with_network(use_upper=False), ["component ner", "use_upper"]),
        (lambda: with_network(extra_state_tokens=True), ["6 tokens", "extra_state_tokens"]),
        (lambda: with_network(maxout_pieces=1), ["one maxout piece"]),
        (
            lambda: with_network(embedder("MultiHashEmbed.v2", attrs=["NORM", "LENGTH", "ENT_TYPE"], rows=[9, 9, 9])),
            ["attribute LENGTH", "attribute ENT_TYPE"],
        ),
        (lambda: with_network(embedder("CharacterEmbed.v2", nM=8, nC=4, rows=50)), ["embedding layer", "charembed"]),
        (
            lambda: with_network(
                encode={"@architectures": "spacy.MishWindowEncoder.v2", "width": 12, "depth": 1, "window_size": 1}
            ),
            ["encoder layer", "mish"],
        ),
    ],
)
def test_networks(make, words, staging):
    with refused("unsupported_model", *words):
        export_pipeline(make(), staging)


@pytest.mark.parametrize(
    ("rule", "source", "words"),
    [
        ("prefix_search", "^a{1001}", ["tokenizer rule prefix", "more than 1000"]),
        ("suffix_search", "(?:(?:a{100}){100}){10}$", ["tokenizer rule suffix", "size"]),
        ("infix_finditer", "(?:$)*a", ["tokenizer rule infix", "repeated"]),
        ("token_match", "a{0,500}" * 30, ["tokenizer rule token_match", "size"]),
        ("url_match", "(" * 51 + "a" + ")" * 51, ["tokenizer rule url_match", "nested"]),
    ],
)
def test_patterns_beyond_the_limits_of_the_format(nlp, staging, rule, source, words):
    method = {"infix_finditer": "finditer", "token_match": "match", "url_match": "match"}.get(rule, "search")
    setattr(nlp.tokenizer, rule, getattr(re.compile(source), method))
    with refused("unsupported_model", *words):
        export_pipeline(nlp, staging)


def test_encoders_of_other_kinds(nlp, staging):
    """Encoders with the layer name of PyTorch (such as `TorchBiLSTM`) or of a transformer are refused."""
    tok2vec = nlp.get_pipe("ner").model.layers[0].layers[0]
    tok2vec.layers[1].layers[0] = Model("pytorch", lambda model, x, is_train: (x, lambda d: d))
    with refused("unsupported_model", "encoder layer pytorch"):
        export_pipeline(nlp, staging)
    tok2vec.layers.clear()
    tok2vec.name = "transformer-listener"
    with refused("unsupported_model", "token vectors from transformer-listener"):
        export_pipeline(nlp, staging)


def test_an_encoder_with_other_padding(nlp, staging):
    tok2vec = nlp.get_pipe("ner").model.layers[0].layers[0]
    tok2vec.layers[1].attrs["pad"] += 1
    with refused("unsupported_model", "padding"):
        export_pipeline(nlp, staging)


def test_a_listener_without_its_tok2vec(staging):
    nlp = make_pipeline(listeners=("ner",))
    nlp.get_pipe("ner").model.layers[0].layers[0].upstream_name = "elsewhere"
    with refused("unsupported_model", "'elsewhere'"):
        export_pipeline(nlp, staging)


def test_labels_added_after_training(nlp, staging):
    nlp.get_pipe("ner").add_label("NEW")
    with refused("unsupported_model", "labels that were added after training"):
        export_pipeline(nlp, staging)


def test_vectors_that_are_not_a_table_of_words(staging):
    nlp = make_pipeline(vectors=True)
    data = np.zeros((20, 6), np.float32)
    nlp.vocab.vectors = Vectors(strings=nlp.vocab.strings, data=data, mode="floret", hash_count=2, minn=2, maxn=3)
    with refused("unsupported_model", "floret vectors"):
        export_pipeline(nlp, staging)
    nlp.vocab.vectors = Vectors(strings=nlp.vocab.strings, data=data, keys=["a"], attr=LOWER)
    with refused("unsupported_model", "vectors looked up by LOWER"):
        export_pipeline(nlp, staging)


def test_no_entity_recognizer(nlp, staging):
    nlp.remove_pipe("ner")
    nlp.add_pipe("sentencizer")
    with refused("unsupported_model", "no component called ner", "sentencizer"):
        export_pipeline(nlp, staging)


def test_an_entity_recognizer_that_searches(staging):
    nlp = spacy.blank("en")
    nlp.add_pipe("beam_ner", name="ner").add_label("PLACE")
    nlp.initialize()
    with refused("unsupported_model", "beam_ner"):
        export_pipeline(nlp, staging)


def test_an_entity_recognizer_of_another_class(nlp, staging, monkeypatch):
    class Changed(EntityRecognizer):
        pass

    component = nlp.get_pipe("ner")
    changed = Changed(nlp.vocab, component.model, "ner")
    monkeypatch.setattr(nlp, "_components", [("ner", changed)])
    with refused("unsupported_model", "class Changed"):
        export_pipeline(nlp, staging)


@pytest.mark.parametrize(
    "factory", ["entity_ruler", "span_ruler", "merge_entities", "doc_cleaner", "changes_something"]
)
@pytest.mark.parametrize("is_before", [True, False])
def test_components_that_may_set_entities_or_change_tokens(nlp, staging, factory, is_before):
    nlp.add_pipe(factory, name="other", **{"before" if is_before else "after": "ner"})
    with refused("unsupported_model", rf"other \({factory}\)", "remove"):
        export_pipeline(nlp, staging)


def test_every_problem_is_named_at_once(nlp, staging):
    nlp.add_pipe("entity_ruler")
    nlp.add_pipe("changes_something")
    nlp.tokenizer.token_match = lambda text: None
    nlp.vocab.lex_attr_getters[NORM] = str.lower
    with refused("unsupported_model", "entity_ruler", "changes_something", "token_match", "NORM"):
        export_pipeline(nlp, staging)


class OwnTokenizer(Tokenizer):
    pass


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda nlp: OwnTokenizer(nlp.vocab), "OwnTokenizer"),
        (lambda nlp: lambda text: nlp.make_doc(text), "function"),
        (lambda nlp: spacy.blank("zh").tokenizer, "ChineseTokenizer"),
    ],
)
def test_tokenizers_that_do_not_use_rules(nlp, staging, make, word):
    nlp.tokenizer = make(nlp)
    with refused("unsupported_model", word, "rules"):
        export_pipeline(nlp, staging)


@pytest.mark.parametrize("language", ["hi", "ne", "ht"])
def test_norms_computed_by_code(language, staging):
    with refused("unsupported_model", "NORM"):
        export_pipeline(make_pipeline(language), staging)


@pytest.mark.parametrize(("attribute", "word"), [(NORM, "NORM"), (SHAPE, "SHAPE")])
def test_attributes_computed_by_code(nlp, staging, attribute, word):
    nlp.vocab.lex_attr_getters[attribute] = lambda text: text[:2]
    with refused("unsupported_model", word):
        export_pipeline(nlp, staging)


@pytest.mark.parametrize("name", ["prefix_search", "suffix_search", "infix_finditer", "token_match", "url_match"])
def test_rules_that_are_not_patterns(nlp, staging, name):
    setattr(nlp.tokenizer, name, lambda text: iter(()) if name == "infix_finditer" else None)
    with refused("unsupported_model", name):
        export_pipeline(nlp, staging)
    # A method of a compiled pattern is refused too if it is not the method that the rule requires. spaCy calls the
    # method as soon as it is set, and iterates over its result in the case of infix_finditer.
    other = re.compile("(?!)").findall if name == "infix_finditer" else re.compile("a").fullmatch
    setattr(nlp.tokenizer, name, other)
    with refused("unsupported_model", name):
        export_pipeline(nlp, staging)


@pytest.mark.parametrize(
    ("name", "pattern", "word"),
    [
        ("prefix_search", "^a|b", "prefix"),
        ("prefix_search", r"\(", "prefix"),
        ("suffix_search", "a|b$", "suffix"),
        ("suffix_search", r"a$\n?", "suffix"),
    ],
)
def test_affixes_that_match_in_the_middle(nlp, staging, name, pattern, word):
    setattr(nlp.tokenizer, name, re.compile(pattern).search)
    with refused("unsupported_model", word, "middle"):
        export_pipeline(nlp, staging)


@pytest.mark.parametrize(
    ("pattern", "word"),
    [
        (r"(a)\1", "GROUPREF"),
        (r"(?P<x>a)(?P=x)", "GROUPREF"),
        (r"(a)?(?(1)b|c)", "GROUPREF_EXISTS"),
        (r"\ba", "AT_BOUNDARY"),
        (r"a\B", "AT_NON_BOUNDARY"),
        (r"\Aa", "AT_BEGINNING_STRING"),
        (r"a\Z", "AT_END_STRING"),
        (r"a++", "POSSESSIVE_REPEAT"),
        (r"(?>a)", "ATOMIC_GROUP"),
        ("(?a)\\w", "ASCII"),
        ("(?m)^a", "MULTILINE"),
        ("(?s)a.", "DOTALL"),
        ("(?x)a b", "VERBOSE"),
    ],
)
@pytest.mark.parametrize("name", ["infix_finditer", "url_match"])
def test_patterns_that_other_engines_read_differently(nlp, staging, name, pattern, word):
    compiled = re.compile(pattern)
    setattr(nlp.tokenizer, name, compiled.finditer if name == "infix_finditer" else compiled.match)
    with refused("unsupported_model", word):
        export_pipeline(nlp, staging)


def add_ruler(nlp: Language, side: str = "before", **attributes: str) -> None:
    ruler = nlp.add_pipe("attribute_ruler", **{side: "ner"})
    ruler.add([[{"LOWER": "paris"}]], attributes)


def learn_tokens(nlp: Language) -> None:
    nlp.get_pipe("parser").cfg["learn_tokens"] = True


def search(nlp: Language) -> None:
    nlp.get_pipe("parser").cfg["beam_width"] = 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda nlp: nlp.add_pipe("sentencizer", first=True), ["sentencizer, parser", "given or none"]),
        (lambda nlp: nlp.add_pipe("senter", before="ner"), ["parser, senter"]),
        (lambda nlp: nlp.remove_pipe("parser"), ["nothing before ner"]),
        (lambda nlp: (nlp.remove_pipe("parser"), nlp.add_pipe("parser")), ["nothing before ner"]),
        (lambda nlp: add_ruler(nlp, NORM="x"), ["attribute ruler", "NORM"]),
        (lambda nlp: add_ruler(nlp, SENT_START="1", POS="X"), ["attribute ruler", "SENT_START"]),
        (learn_tokens, ["learn_tokens"]),
        (search, ["parser that searches with a beam"]),
    ],
)
def test_sentences_that_are_not_only_set_by_the_parser(staging, change, words):
    nlp = make_pipeline(parser=True)
    change(nlp)
    with refused("unsupported_model", *words):
        export_pipeline(nlp, staging, "parser")


def test_components_that_do_not_affect_entities_are_accepted(tmp_path):
    nlp = make_pipeline(parser=True)
    add_ruler(nlp, POS="X")
    nlp.add_pipe("sentencizer")
    assert export_pipeline(nlp, tmp_path, "parser").spec.parser is not None
    ruled = make_pipeline()
    add_ruler(ruled, "after", NORM="x", SENT_START="1")  # only after `ner` has read the norms
    assert export_pipeline(ruled, tmp_path).spec.parser is None


@pytest.mark.parametrize("sentences", ["none", "given"])
@pytest.mark.parametrize("attribute", ["NORM", "SPACY", "ENT_TYPE", "LOWER", "SHAPE", "PREFIX", "SUFFIX", "IS_SPACE"])
def test_a_ruler_that_sets_what_ner_reads_is_refused_in_every_mode(nlp, staging, attribute, sentences):
    add_ruler(nlp, **{attribute: "x" if attribute not in ("SPACY", "IS_SPACE") else 1})
    with refused("unsupported_model", f"attribute ruler that sets {attribute} before ner"):
        export_pipeline(nlp, staging, sentences)


@pytest.mark.parametrize("attribute", ["SHAPE", "ENT_TYPE"])
def test_a_ruler_after_ner_must_not_set_lexemes_or_entities(nlp, staging, attribute):
    add_ruler(nlp, "after", **{attribute.lower(): "x"})
    with refused("unsupported_model", f"attribute ruler that sets {attribute} after ner"):
        export_pipeline(nlp, staging)


def test_the_vocabulary_keeps_what_a_ruler_sets(nlp):
    add_ruler(nlp, "after", SHAPE="other")
    before = nlp.make_doc("Paris")[0].shape_
    nlp("Paris")
    assert (before, nlp.make_doc("Paris")[0].shape_) == ("Xxxxx", "other")


# -- Pipelines in folders


@pytest.fixture(scope="module")
def pristine(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pristine") / "pipeline"
    make_pipeline(attributes=ATTRIBUTES).to_disk(folder)
    return folder


@pytest.fixture
def copied(pristine, tmp_path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "copied"))


def test_a_saved_pipeline_is_accepted(copied, tmp_path):
    assert resolve_source(f"path:{copied}").engine == "spacy"
    (tmp_path / "staging").mkdir()
    exported = export_pipeline(load_pipeline(copied), tmp_path / "staging")
    assert exported.graphs.keys() == {"spacy_ner", "spacy_ner_types"}


@pytest.mark.parametrize(
    "corrupt",
    [
        lambda folder: (folder / "config.cfg").write_text("[nlp\n"),
        lambda folder: (folder / "config.cfg").write_text(
            (folder / "config.cfg").read_text().replace('factory = "ner"', 'factory = "nobodys"')
        ),
        lambda folder: (folder / "config.cfg").write_text(
            (folder / "config.cfg").read_text().replace("spacy.Tok2Vec.v2", "nobodys.Tok2Vec.v9")
        ),
        lambda folder: (folder / "ner" / "model").write_bytes(b"\x00" * 100),
        lambda folder: (folder / "ner" / "model").unlink(),
        lambda folder: (folder / "tokenizer").write_bytes(b"\x93\x01"),
        lambda folder: (folder / "vocab" / "strings.json").write_text("{"),
    ],
)
def test_pipelines_that_spacy_cannot_load(copied, corrupt):
    corrupt(copied)
    with refused("source", "spaCy cannot load copied"):
        load_pipeline(copied)


@pytest.mark.parametrize("text", [None, "{", "[1]"])
def test_a_pipeline_without_its_description(copied, text):
    (copied / "meta.json").unlink()
    if text is not None:
        (copied / "meta.json").write_text(text)
    with refused("source", "meta.json"):
        resolve_source(f"path:{copied}")


def config(folder: Path, **more: Any) -> ModelConfig:
    return ModelConfig(**{"name": "x", "version": "1", "task": "ner", "source": f"path:{folder}", **more})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task": "sentence-embedding"}, ["spacy", "sentence-embedding"]),
        ({"variants": ["int8"]}, ["int8", "fp32"]),
        ({"variants": ["fp32", "int8"]}, ["int8", "fp32"]),
        ({"gate": {"int8": {"entity_f1": 0.9}}}, ["int8", "fp32"]),
        ({"options": {"stride": 4}}, ["stride", "sentences"]),
        ({"options": {"aggregation_strategy": "max"}}, ["aggregation_strategy", "sentences"]),
        ({"options": {"ignore_labels": ["O"], "language": "en"}}, ["ignore_labels, language", "sentences"]),
    ],
)
def test_unsupported_tasks_variants_and_options(pristine, tmp_path, changes, words):
    refuses_to_build(config(pristine, **changes), tmp_path, "config", *words)


def test_the_option_sentences_exists_only_for_spacy(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"")
    expected = config(tmp_path / "model", options={"sentences": "parser"})
    refuses_to_build(expected, tmp_path / "out", "config", "sentences", "aggregation_strategy")


def test_a_refused_build_leaves_nothing(copied, tmp_path):
    changed = json.loads((copied / "meta.json").read_text())
    assert changed["pipeline"] == ["ner"]
    expected = config(copied, options={"sentences": "parser"})
    refuses_to_build(expected, tmp_path / "out", "unsupported_model", "nothing before ner")


def refuses_to_build(expected: ModelConfig, out: Path, code: str, *words: str) -> None:
    with refused(code, *words):
        build(expected, out, lambda stage: None)
    assert not (out / "x").exists() and not list(out.rglob("*.onnx"))
    assert not [path for path in out.glob(".x.*") if path.suffix != ".lock"]

"""Run the stages of a build on spaCy pipelines, as far as a test needs them, and compare their results."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from onnx_ml_bridge import Recognizer
from onnx_ml_bridge.artifacts.families.spacy_ner import HashColumn, SpacyNetwork
from onnx_ml_bridge.artifacts.manifest import Graph
from onnx_ml_bridge.export.spacy_ner.pipeline import SpacyExport, export_pipeline
from onnx_ml_bridge.graphs.files import describe_graph
from onnx_ml_bridge.parity.adversarial import adversarial_texts
from onnx_ml_bridge.parity.ner.original import OriginalEntities
from onnx_ml_bridge.parity.texts import parity_texts
from onnx_ml_bridge.runtime.entities import Entities
from onnx_ml_bridge.runtime.entity_agreement import agreement
from onnx_ml_bridge.runtime.spacy_ner.hashing import hash_words
from onnx_ml_bridge.runtime.spacy_ner.lexicon import Lexicon
from onnx_ml_bridge.runtime.spacy_ner.recognizer import SpacyModel, SpacyPreprocessor, SpacyRecognizer
from onnx_ml_bridge.runtime.spacy_ner.rules import read_rules
from onnx_ml_bridge.runtime.spacy_ner.tables import read_tables
from onnx_ml_bridge.runtime.spacy_ner.tokenizer import RuleTokenizer
from spacy.language import Language


def export_recognizer(nlp: Language, staging: Path, sentences: str = "none") -> Recognizer:
    """Export a loaded pipeline and return the runtime's recognizer for it."""
    staging.mkdir()
    return recognizer_of(export_pipeline(nlp, staging, sentences), staging)


def recognizer_of(exported: SpacyExport, staging: Path) -> Recognizer:
    """Return the runtime's recognizer for an export in `staging`."""
    graphs: dict[str, Graph] = {role: describe_graph(graph, file) for role, (graph, file) in exported.graphs.items()}
    spec = exported.spec
    preprocessor = SpacyPreprocessor(read_rules(staging / spec.rules), read_tables(staging / spec.tables, spec))
    model = SpacyModel(staging, "small", "1", "fp32", graphs, spec, preprocessor)
    return Recognizer(SpacyRecognizer(model, threads=1))


# A network that reads all attributes of tokens. Its tables are so large that different values of an attribute hardly
# ever have the same row.
_PROBE = SpacyNetwork(
    columns=tuple(
        HashColumn(name, 2**31 - 1, seed)
        for seed, name in enumerate(("ORTH", "NORM", "LOWER", "PREFIX", "SUFFIX", "SHAPE", "IS_SPACE", "SPACY"))
    ),
    vectors=False,
    context=0,
    hidden=1,
    pieces=1,
)


@cache
def ner_sample(language: str, adversarial: int, seed: int, every: int) -> list[str]:
    """Return adversarial texts of a language, and every n-th parity text, where n is `every`."""
    return [*adversarial_texts(language, adversarial, seed), *parity_texts()[::every]]


def differing(expected: Sequence[OriginalEntities], found: Sequence[Entities]) -> list[int]:
    """Return the indices of the documents whose entities or number of tokens differ."""
    compared = agreement([each.entities for each in expected], found).differing
    other = {index for index, (a, b) in enumerate(zip(expected, found, strict=True)) if a.tokens != b.tokens}
    return sorted({*compared, *other})


def check_tokens(nlp: Language, model: SpacyModel, texts: Sequence[str]) -> int:
    """Assert that the tokens of every text equal those of spaCy, and return the number of tokens.

    The texts, offsets, trailing spaces and all attributes of the tokens are compared, and the rows of static vectors.
    """
    tokenizer = RuleTokenizer(
        model.preprocessor.rules, Lexicon(model.preprocessor.rules, model.preprocessor.tables, [_PROBE])
    )
    count = 0
    for text in texts:
        found, doc = tokenizer(text), nlp.make_doc(text)
        assert [found.lexicon.texts[lexeme] for lexeme in found.lexemes] == [token.text for token in doc], repr(text)
        assert found.starts.tolist() == [token.idx for token in doc]
        assert found.spaces.tolist() == [bool(token.whitespace_) for token in doc]
        assert found.is_space().tolist() == [token.is_space for token in doc]
        rows = found.lexicon.rows(found.lexemes, found.spaces, _PROBE)
        for index, column in enumerate(_PROBE.columns):
            numbers = doc.to_array([column.attribute]).reshape(-1).astype(np.uint64)
            words = hash_words(numbers, column.seed) % np.uint64(column.rows)
            assert (rows[:, 4 * index : 4 * index + 4] == words).all(), (column.attribute, text)
        if model.preprocessor.tables.vector_keys is not None:
            expected = nlp.vocab.vectors.find(keys=[token.orth for token in doc]) if len(doc) else []
            assert found.lexicon.vectors(found.lexemes).tolist() == list(expected)
        count += len(found)
    return count


def check_offsets(texts: Sequence[str], results: Sequence[Entities]) -> int:
    """Assert that every entity's offsets in characters, bytes and UTF-16 units select its text; return their number."""
    count = 0
    for text, result in zip(texts, results, strict=True):
        raw, wide = text.encode(), text.encode("utf-16-le")
        for entity in result.entities:
            assert entity.text == text[entity.start : entity.end] != ""
            assert entity.text.encode() == raw[entity.start_byte : entity.end_byte]
            start, end = entity.utf16_range(text)
            assert entity.text.encode("utf-16-le") == wide[2 * start : 2 * end]
            count += 1
        offsets = [offset for entity in result.entities for offset in (entity.start, entity.end)]
        assert offsets == sorted(offsets)
    return count

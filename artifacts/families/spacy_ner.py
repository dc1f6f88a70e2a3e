"""The family of spaCy pipelines with the component `ner`; running a model does not require spaCy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..constants import SPACY
from ..family import Family, Interface
from ..manifest_sections import Section
from ..ner import METRICS, NER, USAGE, EntityCase
from ..schema import read_schema

if TYPE_CHECKING:
    from ..manifest import Manifest

# Descriptions of what an artifact reproduces, by the value of the manifest key `spacy.sentences`
_SENTENCES = {
    "none": "the component ner alone: each text is one sentence",
    "parser": "the whole pipeline: its parser splits sentences",
    "given": "the pipeline with the sentence_starts that each call passes",
}
_GIVEN_SENTENCES_USAGE = """from onnx_ml_bridge import Recognizer, RecognizeOptions

recognizer = Recognizer.open("path/to/this/folder")
# The character offsets of the sentence starts of each text
options = RecognizeOptions(sentence_starts=[[0, 10]])
for entity in recognizer.recognize(["Any text. Another sentence."], options)[0]:
    print(entity.text, entity.label, entity.start, entity.end)"""


@dataclass(frozen=True)
class HashColumn:
    """A hash embedding table of a network: the token attribute, the number of rows, and the seed of the hash."""

    attribute: str
    rows: int
    seed: int


@dataclass(frozen=True)
class SpacyNetwork:
    """The fields that the networks of `ner` and `parser` share.

    `context` is the number of tokens that an output depends on, on each side. `hidden` and `pieces` are the width and
    the number of maxout pieces of the hidden layer.
    """

    columns: tuple[HashColumn, ...]
    vectors: bool
    context: int
    hidden: int
    pieces: int


@dataclass(frozen=True)
class SpacyNer(SpacyNetwork):
    """The network of the component `ner`; `tie` is the move, `in` or `last`, that wins if both scores are equal."""

    tie: str


@dataclass(frozen=True)
class SpacyParser(SpacyNetwork):
    """The network of the component `parser`; `moves` has the name of the transition that each output scores."""

    moves: tuple[str, ...]


@dataclass(frozen=True)
class SpacySpec(Section):
    """The section `spacy` of the manifest; `rules` and `tables` are the paths of files in the artifact."""

    language: str
    labels: tuple[str, ...]
    sentences: str
    rules: str
    tables: str
    ner: SpacyNer
    parser: SpacyParser | None

    def files(self) -> tuple[str, ...]:
        """Return the paths of the file of tokenizer rules and of the file of tables."""
        return self.rules, self.tables


def _facts(manifest: Manifest) -> dict[str, str]:
    spacy = manifest.section(SpacySpec)
    return {
        "labels": ", ".join(spacy.labels),
        "language": spacy.language,
        "reproduces": _SENTENCES[spacy.sentences],
        "long texts": "processed completely, in chunks",
        "scores": "none",
    }


def _usage(manifest: Manifest) -> str:
    return _GIVEN_SENTENCES_USAGE if manifest.section(SpacySpec).sentences == "given" else USAGE


_TYPES = Interface(
    inputs={"rows": ("int32", 2)},
    optional_inputs={"vectors": ("int32", 1)},
    outputs={"embedded": ("float32", 2), "contributions": ("float32", 3)},
)
SPACY_NER = Family(
    name="spacy_ner",
    task=NER,
    engine=SPACY,
    revision=1,
    title="Named entities",
    pipeline_tag="token-classification",
    sections={"spacy": SpacySpec},
    schema=read_schema("spacy_ner"),
    roles={
        "spacy_ner": Interface(
            inputs={
                "embedded": ("float32", 2),
                "preactivation": ("float32", 2),
                "is_space": ("bool", 1),
                "is_last": ("bool", 1),
            },
            outputs={
                "label": ("int32", 1),
                "begins": ("bool", 1),
                "current": ("float32", 2),
                "first": ("float32", 2),
                "previous": ("float32", 2),
            },
        ),
        "spacy_ner_types": _TYPES,
        "spacy_parser": Interface(
            inputs={"embedded": ("float32", 2), "preactivation": ("float32", 2)},
            outputs={"features": ("float32", 3)},
            is_required=False,
        ),
        "spacy_parser_types": replace(_TYPES, is_required=False),
    },
    case=EntityCase,
    metrics=METRICS,
    gates={"fp32": {"differing": 0, "token_mismatches": 0}},
    facts=_facts,
    usage=_usage,
    language=lambda manifest: manifest.section(SpacySpec).language,
    command="ner",
    builders=("spacy", "thinc"),
    extra="spacy",
)

"""Named entities of spaCy pipelines, without spaCy."""

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

# What an artifact reproduces, by `spacy.sentences`
_SENTENCES = {
    "none": "the component ner alone: each text is one sentence",
    "parser": "the whole pipeline: sentences are those of its parser",
    "given": "the pipeline with sentences that each call gives as sentence_starts",
}
_GIVEN_SENTENCES_USAGE = """bridge = OnnxMlBridge.open(ner="path/to/this/folder")
# For each text the offsets in characters at which its sentences start
(result,) = bridge.ner(["Any text. Another sentence."], sentence_starts=[[0, 10]])
for entity in result.entities:
    print(entity.text, entity.label, entity.start, entity.end)"""


@dataclass(frozen=True)
class HashColumn:
    """One hashed embedding table of a spaCy network: the attribute, the table's rows, the seed of the hash."""

    attribute: str
    rows: int
    seed: int


@dataclass(frozen=True)
class SpacyNetwork:
    """What both networks of a spaCy pipeline have: their inputs and the size of their state's hidden layer."""

    columns: tuple[HashColumn, ...]
    vectors: bool
    context: int
    hidden: int
    pieces: int


@dataclass(frozen=True)
class SpacyNer(SpacyNetwork):
    """The network of the `ner` component; `tie` says which of I and L wins at equal scores."""

    tie: str


@dataclass(frozen=True)
class SpacyParser(SpacyNetwork):
    """The network of the `parser` component and its moves by name."""

    moves: tuple[str, ...]


@dataclass(frozen=True)
class SpacySpec(Section):
    """A spaCy pipeline's entity recognizer: labels, networks, the files of its rules and tables."""

    language: str
    labels: tuple[str, ...]
    sentences: str
    rules: str
    tables: str
    ner: SpacyNer
    parser: SpacyParser | None

    def files(self) -> tuple[str, ...]:
        """The files of the rules and of the tables."""
        return self.rules, self.tables


def _facts(manifest: Manifest) -> dict[str, str]:
    spacy = manifest.section(SpacySpec)
    return {
        "labels": ", ".join(spacy.labels),
        "language": spacy.language,
        "reproduces": _SENTENCES[spacy.sentences],
        "long texts": "read whole, in chunks",
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

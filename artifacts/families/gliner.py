"""The family of GLiNER models, which find entities of any labels that a call names."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..constants import TOKENIZER_BUILDERS
from ..family import Family, Interface
from ..manifest_sections import Section, TokenizerSpec
from ..ner import METRICS, NER, ExpectedEntity
from ..schema import read_schema

if TYPE_CHECKING:
    from ..manifest import Manifest

ENGINE = "gliner"
# The configuration of a checkpoint
CHECKPOINT_CONFIG = "gliner_config.json"
WORDS = "words.json"
# Labels may leave no fewer than this share of a window's tokens to the text
MIN_TEXT_SHARE = 8


@dataclass(frozen=True)
class GlinerSpec(Section):
    """The section `gliner` of the manifest; FORMAT.md defines words, windows and the search.

    `mode` is `span` if the graph scores spans of up to `max_width` words, `token` if it scores words. A window has at
    most `max_words` words, and consecutive windows share `stride` words. `words` is the file with the characters of
    words. In the prompt, `entity_token` precedes every label, and `separator_token` follows the last one.
    `label_vector` is the token whose vector stands for a label: `entity_token`, or the `next_token`. The other fields
    are the settings of a call without options.
    """

    mode: str
    max_width: int | None
    max_words: int
    stride: int
    words: str
    entity_token: str
    separator_token: str
    label_vector: str
    labels: tuple[str, ...]
    threshold: float
    nested: bool
    multi_label: bool
    language: str | None

    def files(self) -> tuple[str, ...]:
        """Return the path of the file with the characters of words."""
        return (self.words,)

    def problems(self) -> list[str]:
        """Return the violated rules between fields."""
        problems = []
        if (self.max_width is None) != (self.mode == "token"):
            problems.append(f"gliner.max_width is {self.max_width} for the mode {self.mode}")
        if self.stride >= self.max_words:
            problems.append(f"gliner.stride is {self.stride}, not below gliner.max_words {self.max_words}")
        return problems


@dataclass(frozen=True)
class GlinerCase:
    """A golden case: a text, all settings of the call, and the entities of the original.

    `tokens` is the number of tokens of all windows. `truncated` is true if a word was too long for a window.
    """

    input: str
    labels: tuple[str, ...]
    threshold: float
    nested: bool
    multi_label: bool
    stride: int
    entities: tuple[ExpectedEntity, ...]
    tokens: int
    truncated: bool

    def to_record(self) -> dict[str, Any]:
        """Return the case as a JSON object, which is one line of golden.jsonl."""
        settings = {
            "labels": list(self.labels),
            "multi_label": self.multi_label,
            "nested": self.nested,
            "stride": self.stride,
            "threshold": self.threshold,
        }
        expected = {
            "entities": [asdict(entity) for entity in self.entities],
            "tokens": self.tokens,
            "truncated": self.truncated,
        }
        return {"input": self.input, "settings": settings, "expected": expected}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> GlinerCase:
        """Parse a record of golden.jsonl.

        :raises ValueError, KeyError, TypeError: for a record with other keys or types.
        """
        expected, settings = record["expected"], record["settings"]
        case = cls(
            record["input"],
            tuple(settings["labels"]),
            settings["threshold"],
            settings["nested"],
            settings["multi_label"],
            settings["stride"],
            tuple(ExpectedEntity(**entity) for entity in expected["entities"]),
            expected["tokens"],
            expected["truncated"],
        )
        if not case._is_typed() or case.to_record() != record:
            raise ValueError("unknown keys or values of the wrong type")
        return case

    def _is_typed(self) -> bool:
        offsets = [offset for entity in self.entities for offset in (entity.start, entity.end)]
        strings = [self.input, *self.labels, *(entity.label for entity in self.entities)]
        numbers = [self.threshold, *(entity.score for entity in self.entities)]
        return (
            all(type(value) is int and value >= 0 for value in (self.stride, self.tokens, *offsets))
            and all(type(value) is str for value in strings)
            and all(type(value) in (int, float) for value in numbers)
            and all(type(value) is bool for value in (self.nested, self.multi_label, self.truncated))
        )


def _facts(manifest: Manifest) -> dict[str, str]:
    tokenizer, spec = manifest.section(TokenizerSpec), manifest.section(GlinerSpec)
    kind = "of any length" if spec.max_width is None else f"of up to {spec.max_width} words"
    return {
        "labels": ", ".join(spec.labels) or "those of the call; the artifact has no default",
        "entities": f"{kind}, {'nested' if spec.nested else 'flat'}, with a score above {spec.threshold}",
        "language": spec.language or "not stated by its source",
        "long texts": f"processed completely, in windows of up to {spec.max_words} words and {tokenizer.max_tokens} "
        f"tokens, with an overlap of {spec.stride} words",
        "scores": "the probability of the label",
    }


def _usage(manifest: Manifest) -> str:
    return """from onnx_ml_bridge import Recognizer, RecognizeOptions

recognizer = Recognizer.open("path/to/this/folder")
options = RecognizeOptions(labels=["person", "organization"], threshold=0.5)
for entity in recognizer.recognize(["Any text."], options)[0]:
    print(entity.text, entity.label, entity.score)"""


GLINER = Family(
    name="gliner",
    task=NER,
    engine=ENGINE,
    revision=1,
    title="Named entities of any labels",
    pipeline_tag="token-classification",
    sections={"gliner": GlinerSpec, "tokenizer": TokenizerSpec},
    schema=read_schema("gliner"),
    roles={
        "entity_scorer": Interface(
            inputs={
                "input_ids": ("int64", 2),
                "attention_mask": ("int64", 2),
                "word_positions": ("int64", 2),
                "label_positions": ("int64", 2),
            },
            outputs={"logits": ("float32", 4)},
        )
    },
    case=GlinerCase,
    metrics=METRICS,
    gates={
        "fp32": {"differing": 0, "score_max_abs": 1e-4, "token_mismatches": 0},
        # Provisional: it was measured on models with random weights, and on no trained model
        "int8": {"entity_f1": 0.95, "token_mismatches": 0},
    },
    facts=_facts,
    usage=_usage,
    language=lambda manifest: manifest.section(GlinerSpec).language,
    command="ner",
    builders=TOKENIZER_BUILDERS,
)

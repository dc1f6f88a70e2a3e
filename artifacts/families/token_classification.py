"""The family of token classifiers of transformers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..constants import FP16, TOKENIZER_BUILDERS, TRANSFORMERS
from ..family import Family, Interface
from ..manifest_sections import IgnoredCodeSpec, Section, TokenizerSpec, code_facts
from ..ner import METRICS, NER, USAGE, EntityCase
from ..schema import read_schema

if TYPE_CHECKING:
    from ..manifest import Manifest


@dataclass(frozen=True)
class TokenClassificationSpec(Section):
    """The section `token_classification` of the manifest; FORMAT.md defines the aggregation strategies.

    `labels[i]` is the label of class i. `stride` is the number of tokens that consecutive windows of a long text share;
    None if long texts are cut.
    """

    labels: tuple[str, ...]
    ignore_labels: tuple[str, ...]
    aggregation_strategy: str
    stride: int | None
    subwords: str
    unk_token_id: int | None
    language: str | None

    def entity_labels(self) -> list[str]:
        """Return the distinct labels that entities can have.

        The labels have no prefix `B-` or `I-`, unless the aggregation strategy is `none`.
        """
        is_grouped = self.aggregation_strategy != "none"
        labels = [label.split("-", 1)[-1] if is_grouped else label for label in self.labels]
        return [label for label in dict.fromkeys(labels) if label not in self.ignore_labels]


def _facts(manifest: Manifest) -> dict[str, str]:
    tokenizer, spec = manifest.section(TokenizerSpec), manifest.section(TokenClassificationSpec)
    long_texts = (
        f"cut to {tokenizer.max_tokens} tokens on the {tokenizer.truncation_side} unless a call sets a stride"
        if spec.stride is None
        else f"processed completely, in windows of {tokenizer.max_tokens} tokens with an overlap of {spec.stride}"
    )
    return {
        "labels": ", ".join(spec.entity_labels()),
        "language": spec.language or "not stated by its source",
        "aggregation strategy": spec.aggregation_strategy,
        "long texts": long_texts,
        "scores": "the probability of the label",
        **code_facts(manifest.sections),
    }


TOKEN_CLASSIFICATION = Family(
    name="token_classification",
    task=NER,
    engine=TRANSFORMERS,
    revision=1,
    title="Named entities",
    pipeline_tag="token-classification",
    sections={
        "token_classification": TokenClassificationSpec,
        "tokenizer": TokenizerSpec,
        "ignored_code": IgnoredCodeSpec,
    },
    schema=read_schema("token_classification"),
    roles={
        "token_classifier": Interface(
            inputs={"input_ids": ("int64", 2), "attention_mask": ("int64", 2)},
            optional_inputs={"token_type_ids": ("int64", 2)},
            outputs={"logits": ("float32", 3)},
        )
    },
    case=EntityCase,
    metrics=METRICS,
    gates={
        "fp32": {"differing": 0, "score_max_abs": 1e-5, "token_mismatches": 0},
        "int8": {"entity_f1": 0.97, "token_mismatches": 0},
    },
    optional_gates={FP16: {"entity_f1": 0.99, "token_mismatches": 0}},
    facts=_facts,
    usage=lambda manifest: USAGE,
    language=lambda manifest: manifest.section(TokenClassificationSpec).language,
    command="ner",
    builders=TOKENIZER_BUILDERS,
)

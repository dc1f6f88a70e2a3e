"""Rerankers: cross-encoders of sentence-transformers, which score a query with each of several documents."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..constants import FP16, TOKENIZER_BUILDERS, TRANSFORMERS
from ..family import Family, Interface, Metric
from ..manifest_sections import Section, TokenizerSpec
from ..schema import read_schema

if TYPE_CHECKING:
    from ..manifest import Manifest


@dataclass(frozen=True)
class RerankSpec(Section):
    """The section `rerank`; `activation` computes the score from the logit: `sigmoid` or `identity`."""

    activation: str


@dataclass(frozen=True)
class ExpectedScore:
    """The reference for a pair: score, number of tokens including special ones, and whether it was truncated."""

    score: float
    tokens: int
    truncated: bool


@dataclass(frozen=True)
class RerankCase:
    """A golden case: a query, its documents, and the reference for each document."""

    query: str
    documents: tuple[str, ...]
    expected: tuple[ExpectedScore, ...]

    def to_record(self) -> dict[str, Any]:
        """Return the case as a JSON object, which is one line of golden.jsonl."""
        expected = [asdict(score) for score in self.expected]
        return {"input": {"query": self.query, "documents": list(self.documents)}, "expected": expected}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> RerankCase:
        """Parse a record of golden.jsonl.

        :raises ValueError, KeyError, TypeError: for a record with other keys or types.
        """
        entry = record["input"]
        expected = tuple(ExpectedScore(**score) for score in record["expected"])
        case = cls(entry["query"], tuple(entry["documents"]), expected)
        if not case._is_typed() or case.to_record() != record:
            raise ValueError("unknown keys, or values of another kind")
        return case

    def _is_typed(self) -> bool:
        return (
            all(type(text) is str for text in (self.query, *self.documents))
            and len(self.expected) == len(self.documents) > 0
            and all(type(each.score) in (int, float) and type(each.truncated) is bool for each in self.expected)
            and all(type(each.tokens) is int and each.tokens >= 0 for each in self.expected)
        )


def _facts(manifest: Manifest) -> dict[str, str]:
    tokenizer, spec = manifest.section(TokenizerSpec), manifest.section(RerankSpec)
    scores = {"sigmoid": "between 0 and 1, a sigmoid of the logit", "identity": "the logit itself"}
    limit = f"{tokenizer.max_tokens} tokens on the {tokenizer.truncation_side}"
    return {
        "scores": scores[spec.activation],
        "long pairs": f"truncated to {limit}, the longer text first",
    }


def _usage(manifest: Manifest) -> str:
    return """from onnx_ml_bridge import OnnxMlBridge

bridge = OnnxMlBridge.open("path/to/this/folder")
for ranked in bridge.rerank("a query", ["a document", "another one"], top_k=1):
    print(ranked.index, ranked.score)"""


RERANK = Family(
    name="rerank",
    task="rerank",
    engine=TRANSFORMERS,
    revision=1,
    title="Reranking",
    pipeline_tag="text-ranking",
    sections={"rerank": RerankSpec, "tokenizer": TokenizerSpec},
    schema=read_schema("rerank"),
    roles={
        "pair_scorer": Interface(
            inputs={"input_ids": ("int64", 2), "attention_mask": ("int64", 2)},
            optional_inputs={"token_type_ids": ("int64", 2)},
            outputs={"logits": ("float32", 2), "scores": ("float32", 1)},
        )
    },
    case=RerankCase,
    metrics=(
        Metric("max_abs", "Exactness", "largest difference of a score", "max abs", ".1e", is_upper_bound=True),
        Metric(
            "token_mismatches",
            "Exactness",
            "pairs with another number of tokens or another truncation",
            is_upper_bound=True,
        ),
        Metric("order_differing", "Order", "queries with another order", "order differing", ".0f", is_upper_bound=True),
        Metric("kendall_tau", "Order", "mean Kendall tau", "Kendall tau", ".4f"),
        Metric("kendall_tau_min", "Order", "lowest Kendall tau of a query"),
        Metric("top_1", "Order", "first document kept", "top 1", ".4f", is_share=True),
    ),
    gates={
        "fp32": {"max_abs": 1e-5, "order_differing": 0, "token_mismatches": 0},
        "int8": {"kendall_tau": 0.93, "top_1": 0.95, "token_mismatches": 0},
    },
    optional_gates={FP16: {"kendall_tau": 0.99, "top_1": 0.99, "token_mismatches": 0}},
    facts=_facts,
    usage=_usage,
    command="rerank",
    builders=("sentence-transformers", *TOKENIZER_BUILDERS),
)

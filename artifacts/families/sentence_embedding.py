"""The family of sentence-transformers pipelines."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..constants import FP16, TOKENIZER_BUILDERS, TRANSFORMERS
from ..family import Family, Interface, Metric
from ..manifest_sections import IgnoredCodeSpec, Section, TokenizerSpec, code_facts
from ..schema import read_schema

if TYPE_CHECKING:
    from ..manifest import Manifest

_COSINES = {"min": "lowest", "p01": "1st percentile", "p05": "5th percentile", "mean": "mean"}


@dataclass(frozen=True)
class Prompt:
    """A text that is prepended to every input.

    `tokens` is the number of its tokens, including the special tokens before it but not those after it.
    """

    text: str
    tokens: int


@dataclass(frozen=True)
class EmbeddingSpec(Section):
    """The section `embedding` of the manifest; the vectors of several pooling modes are concatenated."""

    dim: int
    pooling: tuple[str, ...]
    include_prompt: bool
    normalized: bool
    prompts: dict[str, Prompt]
    default_prompt: str | None
    similarity: str

    def problems(self) -> list[str]:
        """Report a default prompt that is not in `prompts`."""
        is_known = self.default_prompt is None or self.default_prompt in self.prompts
        return [] if is_known else [f"default_prompt {self.default_prompt!r} is not in prompts"]


@dataclass(frozen=True)
class ExpectedEmbedding:
    """The reference for one text: a float32 vector `[dim]`, the number of tokens read, and whether the text was cut."""

    vector: tuple[float, ...]
    tokens: int
    truncated: bool


@dataclass(frozen=True)
class EmbeddingCase:
    """A golden case; `group` is `plain` or `hard` and selects the cosine threshold of the gate."""

    input: str
    prompt_name: str | None
    group: str
    expected: ExpectedEmbedding

    def to_record(self) -> dict[str, Any]:
        """Return the case as a JSON object, which is one line of golden.jsonl."""
        expected = {**asdict(self.expected), "vector": list(self.expected.vector)}
        return {
            "input": self.input,
            "settings": {"prompt_name": self.prompt_name},
            "group": self.group,
            "expected": expected,
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> EmbeddingCase:
        """Parse a record of golden.jsonl.

        :raises ValueError, KeyError, TypeError: for a record with other keys or types.
        """
        expected, settings = record["expected"], record["settings"]
        answer = ExpectedEmbedding(tuple(map(float, expected["vector"])), expected["tokens"], expected["truncated"])
        case = cls(record["input"], settings["prompt_name"], record["group"], answer)
        kinds = (type(case.input), type(answer.tokens), type(answer.truncated), type(case.prompt_name))
        is_typed = kinds in ((str, int, bool, str), (str, int, bool, type(None)))
        if not is_typed or case.to_record() != record or case.group not in ("plain", "hard"):
            raise ValueError("unknown keys or values of the wrong type")
        return case


def _facts(manifest: Manifest) -> dict[str, str]:
    tokenizer, embedding = manifest.section(TokenizerSpec), manifest.section(EmbeddingSpec)
    length = ", of length 1" if embedding.normalized else ""
    return {
        "vectors": f"{embedding.dim} float32 numbers{length}, compared by {embedding.similarity}",
        "pooling": ", ".join(embedding.pooling),
        "prompts": ", ".join(sorted(name for name, prompt in embedding.prompts.items() if prompt.text)) or "none",
        "long texts": f"cut to {tokenizer.max_tokens} tokens on the {tokenizer.truncation_side}",
        **code_facts(manifest.sections),
    }


def _usage(manifest: Manifest) -> str:
    return """from onnx_ml_bridge import OnnxMlBridge

bridge = OnnxMlBridge.open("path/to/this/folder")
vector = bridge.generate_embedding("any text")"""


SENTENCE_EMBEDDING = Family(
    name="sentence_embedding",
    task="sentence-embedding",
    engine=TRANSFORMERS,
    revision=1,
    title="Sentence embeddings",
    pipeline_tag="sentence-similarity",
    sections={"embedding": EmbeddingSpec, "tokenizer": TokenizerSpec, "ignored_code": IgnoredCodeSpec},
    schema=read_schema("sentence_embedding"),
    roles={
        "encoder": Interface(
            inputs={"input_ids": ("int64", 2), "attention_mask": ("int64", 2)},
            optional_inputs={"token_type_ids": ("int64", 2), "prompt_length": ("int64", 1)},
            outputs={"token_embeddings": ("float32", 3), "sentence_embedding": ("float32", 2)},
        )
    },
    case=EmbeddingCase,
    metrics=(
        Metric("max_abs", "Exactness", "largest difference of an element", "max abs", ".1e", is_upper_bound=True),
        Metric(
            "token_mismatches",
            "Exactness",
            "texts with a different number of tokens or truncation",
            is_upper_bound=True,
        ),
        *(
            Metric(
                f"cosine_{name}", "Cosine, plain texts", label, f"cosine {name}" if name in ("min", "mean") else None
            )
            for name, label in _COSINES.items()
        ),
        *(Metric(f"cosine_{name}_hard", "Cosine, hard texts", label) for name, label in _COSINES.items()),
        Metric("neighbours", "Search", "ten nearest neighbors kept", is_share=True),
        Metric("nearest", "Search", "nearest neighbor kept", is_share=True),
    ),
    gates={
        "fp32": {"max_abs": 1e-5, "token_mismatches": 0},
        "int8": {
            "cosine_min": 0.997,
            "cosine_mean": 0.999,
            "cosine_min_hard": 0.99,
            "cosine_mean_hard": 0.997,
            "token_mismatches": 0,
        },
    },
    optional_gates={FP16: {"cosine_min": 0.999, "cosine_min_hard": 0.999, "token_mismatches": 0}},
    facts=_facts,
    usage=_usage,
    command="embed",
    builders=("sentence-transformers", *TOKENIZER_BUILDERS),
)

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

# The `max_tokens` of models that read texts of any length
UNLIMITED_TOKENS = 2**31 - 1
_AT_DIMENSIONS = {
    "max_abs": "largest difference of an element",
    "cosine_min": "lowest cosine of plain texts",
    "cosine_mean": "mean cosine of plain texts",
    "cosine_min_hard": "lowest cosine of hard texts",
    "cosine_mean_hard": "mean cosine of hard texts",
}
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
    """The section `embedding` of the manifest; the vectors of several pooling modes are concatenated.

    `dimensions` lists the numbers of elements that a call may ask for, ascending. If it is empty, the manifest has no
    such key.
    """

    dim: int
    pooling: tuple[str, ...]
    include_prompt: bool
    normalized: bool
    prompts: dict[str, Prompt]
    default_prompt: str | None
    similarity: str
    dimensions: tuple[int, ...] = ()

    def revision(self) -> int:
        """Return 2 for a section with `dimensions`, else 1."""
        return 2 if self.dimensions else 1

    def to_json(self) -> dict[str, Any]:
        """Return the section as JSON values, without `dimensions` if it is empty."""
        return {key: value for key, value in super().to_json().items() if key != "dimensions" or value}

    def problems(self) -> list[str]:
        """Report a default prompt that is not in `prompts`, and dimensions that do not ascend or exceed `dim`."""
        is_known = self.default_prompt is None or self.default_prompt in self.prompts
        problems = [] if is_known else [f"default_prompt {self.default_prompt!r} is not in prompts"]
        if list(self.dimensions) != sorted({*self.dimensions}) or max(self.dimensions, default=0) > self.dim:
            problems.append(f"dimensions {list(self.dimensions)} do not ascend, or exceed dim {self.dim}")
        return problems


@dataclass(frozen=True)
class ExpectedEmbedding:
    """The reference for one text: a float32 vector `[dim]`, the number of tokens read, and whether the text was cut."""

    vector: tuple[float, ...]
    tokens: int
    truncated: bool


@dataclass(frozen=True)
class EmbeddingCase:
    """A golden case; `group` is `plain` or `hard` and selects the cosine threshold of the gate.

    `dimensions` is the number of elements that the call asks for; None for a call that asks for none.
    """

    input: str
    prompt_name: str | None
    group: str
    expected: ExpectedEmbedding
    dimensions: int | None = None

    def to_record(self) -> dict[str, Any]:
        """Return the case as a JSON object, which is one line of golden.jsonl."""
        expected = {**asdict(self.expected), "vector": list(self.expected.vector)}
        cut = {} if self.dimensions is None else {"dimensions": self.dimensions}
        return {
            "input": self.input,
            "settings": {"prompt_name": self.prompt_name, **cut},
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
        case = cls(record["input"], settings["prompt_name"], record["group"], answer, settings.get("dimensions"))
        kinds = (type(case.input), type(answer.tokens), type(answer.truncated))
        optional = ((case.prompt_name, str), (case.dimensions, int))
        is_typed = kinds == (str, int, bool) and all(value is None or type(value) is kind for value, kind in optional)
        if not is_typed or case.to_record() != record or case.group not in ("plain", "hard"):
            raise ValueError("unknown keys or values of the wrong type")
        return case


def _facts(manifest: Manifest) -> dict[str, str]:
    tokenizer, embedding = manifest.section(TokenizerSpec), manifest.section(EmbeddingSpec)
    length = ", of length 1" if embedding.normalized else ""
    sizes = ", ".join(map(str, embedding.dimensions))
    return {
        "vectors": f"{embedding.dim} float32 numbers{length}, compared by {embedding.similarity}",
        **({"shorter vectors": f"{sizes} numbers, with the option dimensions of a call"} if sizes else {}),
        "pooling": ", ".join(embedding.pooling),
        "prompts": ", ".join(sorted(name for name, prompt in embedding.prompts.items() if prompt.text)) or "none",
        "long texts": "read to their ends"
        if tokenizer.max_tokens == UNLIMITED_TOKENS
        else f"cut to {tokenizer.max_tokens} tokens on the {tokenizer.truncation_side}",
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
    revision=2,
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
        *(
            Metric(
                f"{name}_at_N",
                "Shorter vectors",
                label,
                "cosine min" if name == "cosine_min" else None,
                ".1e" if name == "max_abs" else ".5f",
                is_upper_bound=name == "max_abs",
                per_option="dimensions",
            )
            for name, label in _AT_DIMENSIONS.items()
        ),
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

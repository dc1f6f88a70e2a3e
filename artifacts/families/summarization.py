"""The family of summarizers: BART, mBART and Pegasus."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..constants import TOKENIZER_BUILDERS, TRANSFORMERS
from ..family import Family, Interface, Metric
from ..manifest_sections import Section, TokenizerSpec
from ..schema import read_schema

if TYPE_CHECKING:
    from ..manifest import Manifest


@dataclass(frozen=True)
class GenerationDefaults:
    """The default settings of a call; lengths include the decoder's start token."""

    num_beams: int
    min_length: int
    max_length: int
    length_penalty: float


@dataclass(frozen=True)
class FixedGeneration:
    """The search settings that are constants of the graph; `early_stopping` is true, false or `"never"`."""

    no_repeat_ngram_size: int
    early_stopping: bool | str
    forced_bos_token_id: int | None
    forced_eos_token_id: int | None


@dataclass(frozen=True)
class SummarizationSpec(Section):
    """The section `summarization` of the manifest.

    `join` is the separator between the messages of one input. `max_target_tokens` is the number of positions of the
    decoder and the upper limit of `max_length`.
    """

    join: str
    decoder_start_token_id: int
    eos_token_id: int
    max_target_tokens: int
    defaults: GenerationDefaults
    fixed: FixedGeneration

    def problems(self) -> list[str]:
        """Report default lengths that contradict each other or exceed `max_target_tokens`."""
        lengths, limit = self.defaults, self.max_target_tokens
        problems = []
        if lengths.max_length > limit:
            problems.append(f"max_length {lengths.max_length} exceeds max_target_tokens {limit}")
        if lengths.min_length > lengths.max_length:
            problems.append(f"min_length {lengths.min_length} exceeds max_length {lengths.max_length}")
        return problems


@dataclass(frozen=True)
class ExpectedSummary:
    """A summary: its text, and its token ids with the decoder's start token and without padding."""

    text: str
    token_ids: tuple[int, ...]


@dataclass(frozen=True)
class SummaryCase:
    """A golden case: messages, settings, the original's summary, and whether the input was cut.

    `sealed` has, for each variant that may differ from the original, the summary that this variant generated when it
    was built.
    """

    input: tuple[str, ...]
    settings: GenerationDefaults
    expected: ExpectedSummary
    truncated: bool
    sealed: dict[str, ExpectedSummary]

    def to_record(self) -> dict[str, Any]:
        """Return the case as a JSON object, which is one line of golden.jsonl."""
        expected = {**_summary_record(self.expected), "truncated": self.truncated}
        sealed = {name: _summary_record(summary) for name, summary in self.sealed.items()}
        return {"input": list(self.input), "settings": asdict(self.settings), "expected": expected, "sealed": sealed}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> SummaryCase:
        """Parse a record of golden.jsonl.

        :raises ValueError, KeyError, TypeError: for a record with other keys or types.
        """
        expected, sealed = dict(record["expected"]), record["sealed"]
        if not isinstance(sealed, dict):
            raise TypeError(f"sealed is a {type(sealed).__name__}, expected an object")
        truncated = expected.pop("truncated")
        case = cls(
            tuple(record["input"]),
            GenerationDefaults(**record["settings"]),
            _summary(expected),
            truncated,
            {name: _summary(summary) for name, summary in sealed.items()},
        )
        if not case._is_typed() or case.to_record() != record:
            raise ValueError("unknown keys or values of the wrong type")
        return case

    def _is_typed(self) -> bool:
        summaries = [self.expected, *self.sealed.values()]
        whole = [self.settings.num_beams, self.settings.min_length, self.settings.max_length]
        whole += [token for summary in summaries for token in summary.token_ids]
        return (
            all(type(value) is int and value >= 0 for value in whole)
            and all(type(value) is str for value in (*self.input, *(summary.text for summary in summaries)))
            and type(self.settings.length_penalty) in (int, float)
            and type(self.truncated) is bool
        )


def _summary_record(summary: ExpectedSummary) -> dict[str, Any]:
    return {"text": summary.text, "token_ids": list(summary.token_ids)}


def _summary(record: dict[str, Any]) -> ExpectedSummary:
    return ExpectedSummary(**{**record, "token_ids": tuple(record["token_ids"])})


def _facts(manifest: Manifest) -> dict[str, str]:
    tokenizer, spec = manifest.section(TokenizerSpec), manifest.section(SummarizationSpec)
    defaults, fixed = spec.defaults, spec.fixed
    stops = {True: "true", False: "false", "never": "never"}[fixed.early_stopping]
    repeats = fixed.no_repeat_ngram_size
    return {
        "search": f"{defaults.num_beams} beams, {defaults.min_length} to {defaults.max_length} tokens, length penalty "
        f"{defaults.length_penalty:g}; calls can change these, up to {spec.max_target_tokens} tokens",
        "fixed": f"early stopping {stops}; {f'no repeated {repeats}-grams' if repeats else 'repeated n-grams allowed'}",
        "long inputs": f"cut to {tokenizer.max_tokens} tokens on the {tokenizer.truncation_side} unless a call enables "
        "map_reduce",
    }


def _usage(manifest: Manifest) -> str:
    return """from onnx_ml_bridge import OnnxMlBridge

bridge = OnnxMlBridge.open("path/to/this/folder")
print(bridge.summarize(["A first message.", "Another one."]))"""


SUMMARIZATION = Family(
    name="summarization",
    task="summarization",
    engine=TRANSFORMERS,
    revision=1,
    title="Summaries",
    pipeline_tag="summarization",
    sections={"summarization": SummarizationSpec, "tokenizer": TokenizerSpec},
    schema=read_schema("summarization"),
    roles={
        "generate": Interface(
            inputs={
                "input_ids": ("int64", 2),
                "attention_mask": ("int64", 2),
                "num_beams": ("int64", 1),
                "min_length": ("int64", 1),
                "max_length": ("int64", 1),
                "length_penalty": ("float32", 1),
            },
            outputs={"sequences": ("int64", 2), "sequences_scores": ("float32", 1)},
        )
    },
    case=SummaryCase,
    metrics=(
        Metric("differing", "Summaries", "inputs with a different summary", "differing", ".0f", is_upper_bound=True),
        Metric(
            "ties", "Summaries", "different, but with equal scores up to rounding", "ties", ".0f", is_upper_bound=True
        ),
        Metric(
            "tie_share",
            "Summaries",
            "share of the inputs that are such ties",
            "tie share",
            ".2%",
            is_upper_bound=True,
            is_share=True,
        ),
        Metric(
            "sealed_same",
            "Summaries",
            "golden inputs with the same summary alone and in a batch",
            "sealed same",
            ".4f",
            is_share=True,
        ),
        Metric("rouge_1", "ROUGE against the original", "unigrams (F1)"),
        Metric("rouge_2", "ROUGE against the original", "bigrams (F1)"),
        Metric("rouge_l", "ROUGE against the original", "longest common subsequence (F1)", "ROUGE-L", ".4f"),
        Metric(
            "rouge_l_reference",
            "ROUGE against references",
            "longest common subsequence (F1)",
            "ROUGE-L, references",
            ".4f",
            needs_option="references",
        ),
        Metric(
            "rouge_l_drop",
            "ROUGE against references",
            "points below fp32",
            is_upper_bound=True,
            needs_option="references",
        ),
        Metric("token_mismatches", "Tokens", "inputs with a different truncation", is_upper_bound=True),
    ),
    gates={
        "fp32": {"differing": 0, "tie_share": 0.01, "token_mismatches": 0},
        "int8": {"rouge_l": 0.7, "sealed_same": 0.9, "token_mismatches": 0},
    },
    facts=_facts,
    usage=_usage,
    command="summarize",
    builders=TOKENIZER_BUILDERS,
)

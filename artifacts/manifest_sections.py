"""The sections of a manifest that belong to one task or engine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TokenizerSpec:
    """How texts become token ids; `max_tokens` includes special tokens."""

    file: str
    vocab_size: int
    max_tokens: int
    truncation_side: str
    pad_token: str
    pad_token_id: int


@dataclass(frozen=True)
class Prompt:
    """A text put before every input, and its length in tokens without a closing special token."""

    text: str
    tokens: int


@dataclass(frozen=True)
class EmbeddingSpec:
    """What a sentence embedding artifact computes. Several pooling modes are concatenated."""

    dim: int
    pooling: tuple[str, ...]
    include_prompt: bool
    normalized: bool
    prompts: dict[str, Prompt]
    default_prompt: str | None
    similarity: str


@dataclass(frozen=True)
class TokenClassificationSpec:
    """What a token classifier's classes mean and how they become entities; FORMAT.md defines every strategy.

    `labels[i]` is the label of class i; `stride` is in tokens, None for texts that are cut instead.
    """

    labels: tuple[str, ...]
    ignore_labels: tuple[str, ...]
    aggregation_strategy: str
    stride: int | None
    subwords: str
    unk_token_id: int | None
    language: str | None


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
class SpacySpec:
    """A spaCy pipeline's entity recognizer: labels, networks, the files of its rules and tables."""

    language: str
    labels: tuple[str, ...]
    sentences: str
    rules: str
    tables: str
    ner: SpacyNer
    parser: SpacyParser | None


@dataclass(frozen=True)
class GenerationDefaults:
    """What a call searches with that says nothing else; lengths count the decoder's start token."""

    num_beams: int
    min_length: int
    max_length: int
    length_penalty: float


@dataclass(frozen=True)
class FixedGeneration:
    """What of the search is part of the graph. `early_stopping` is true, false or `"never"`, as transformers has it."""

    no_repeat_ngram_size: int
    early_stopping: bool | str
    forced_bos_token_id: int | None
    forced_eos_token_id: int | None


@dataclass(frozen=True)
class SummarizationSpec:
    """What a summarization artifact generates; `join` stands between the messages of one input.

    `max_target_tokens` is the number of the decoder's positions, the largest `max_length` of a call.
    """

    join: str
    decoder_start_token_id: int
    eos_token_id: int
    max_target_tokens: int
    defaults: GenerationDefaults
    fixed: FixedGeneration

"""What a run over named entities found, as typed values that go to ner.json, and its acceptance ratios."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .ner_contenders import PIPELINE, SPACY, SPACY_FULL, SPACY_NER, TOKEN_CLASSIFIER, ours
from .results import COLD, PEAK_FIRST, PEAK_LONG, WORDS, WORDS_CPU, Figure, Target
from .targets import Ratio, evaluate

_WORDS_PER_CPU_SECOND = {"Python": 5, "Rust": 8}
_PEAK = 8
PARSER = "with parser"


@dataclass(frozen=True)
class NerRow:
    """One contender's figures by name; `missing` says of whatever was not measured why.

    `entities` are those found in all texts: who finds none or many more has done other work.
    """

    name: str
    group: str
    disk_bytes: int
    entities: int | None
    figures: dict[str, Figure]
    missing: dict[str, str]

    def median(self, figure: str) -> float | None:
        """The median of a figure, None where it was not measured."""
        return self.figures[figure].median if figure in self.figures else None


@dataclass(frozen=True)
class NerSubject:
    """What a group was measured on: the original, our artifacts with their SHA-256, and the texts."""

    original: str
    artifacts: dict[str, str]
    texts: int
    words: int
    texts_sha256: str
    long_words: int | None


@dataclass(frozen=True)
class NerConditions:
    """Everything that decides what the figures are worth; see `results.Conditions`."""

    date: str
    cpu: str
    instruction_set: tuple[str, ...]
    exact_int8: bool
    cpus: int
    versions: dict[str, str]
    subjects: dict[str, NerSubject]
    rounds: int
    other_load: float
    busy_workers: int


@dataclass(frozen=True)
class NerResults:
    """A whole run."""

    conditions: NerConditions
    rows: tuple[NerRow, ...]
    targets: tuple[Target, ...]

    def group(self, name: str) -> tuple[NerRow, ...]:
        """The rows of one group."""
        return tuple(row for row in self.rows if row.group == name)


def acceptance(rows: tuple[NerRow, ...], threads: tuple[int, ...]) -> tuple[Target, ...]:
    """Every ratio whose two sides are part of the run."""
    by_name = {row.name: row for row in rows}
    ratios = [*_spacy(threads), *_parser(), *_token_classifier(max(threads))]
    return tuple(evaluate(ratio, by_name) for ratio in ratios if {ratio.left, ratio.right} <= set(by_name))


def _spacy(threads: tuple[int, ...]) -> Iterator[Ratio]:
    """Ours against `ner` alone. spaCy runs in one thread: with one of ours words per second say the same."""
    for language, minimum in _WORDS_PER_CPU_SECOND.items():
        one = ours(language, 1)
        yield Ratio(f"{language} / spaCy, words per CPU second", WORDS_CPU, one, SPACY_NER, minimum)
        for count in threads[1:]:
            name = f"{language} with {count} threads / spaCy, words per second"
            yield Ratio(name, WORDS, ours(language, count), SPACY_NER, None)
        yield Ratio(f"spaCy / {language}, peak with the long document", PEAK_LONG, SPACY_NER, one, _PEAK)
        yield Ratio(f"spaCy / {language}, cold start", COLD, SPACY_NER, one, None)


def _parser() -> Iterator[Ratio]:
    """Ours with the parser's graphs against the full pipeline."""
    for language in _WORDS_PER_CPU_SECOND:
        one = ours(language, 1, PARSER)
        yield Ratio(f"{language} with parser / full spaCy, words per CPU second", WORDS_CPU, one, SPACY_FULL, None)
        yield Ratio(f"full spaCy / {language} with parser, peak", PEAK_LONG, SPACY_FULL, one, None)


def _token_classifier(threads: int) -> Iterator[Ratio]:
    """Ours against the pipeline of transformers."""
    for variant in ("fp32", "int8"):
        for language in ("Python", "Rust"):
            name, what = ours(language, threads, variant), f"{variant} in {language}"
            yield Ratio(f"{what} / transformers, words per second", WORDS, name, PIPELINE, None)
            yield Ratio(f"transformers / {what}, cold start", COLD, PIPELINE, name, None)
            yield Ratio(f"transformers / {what}, peak to the first answer", PEAK_FIRST, PIPELINE, name, None)


GROUPS = {SPACY: "spaCy's entities", TOKEN_CLASSIFIER: "Token classification"}

"""Open an artifact of the task `ner` with either engine, and replay its golden cases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

from ..artifacts.errors import ArtifactError
from ..artifacts.families import FAMILIES
from ..artifacts.family import Family
from ..artifacts.manifest import Variant
from ..artifacts.ner import NER, EntityCase
from .entities import Entities, NerOptions, Recognizer
from .entity_agreement import agreement
from .loading import AUTO, OTHER_RESULTS, Figures, Report, open_model, reporting
from .tokenizer import DEFAULT_TEXT_LIMIT


def open_recognizer(
    root: str | Path,
    variant: str = AUTO,
    *,
    threads: int | None = None,
    text_limit: int = DEFAULT_TEXT_LIMIT,
    families: Iterable[Family] = FAMILIES,
) -> Recognizer:
    """Check an artifact of the task `ner` and create the recognizer of one of its variants; see `open_model`.

    :raises ArtifactError: with the code of the first check that fails.
    """
    model = open_model(root, variant, task=NER, threads=threads, text_limit=text_limit, families=families)
    return cast(Recognizer, model)


def replay_entities(
    recognizer: Recognizer, cases: Sequence[EntityCase], family: Family, variant: Variant, report: Report
) -> Figures:
    """Recognize the entities of the golden cases and compare them with the expected ones.

    :returns: the metrics `differing`, `entity_f1` and `score_max_abs` over all cases.
    :raises ArtifactError: with the code `golden` if `tokens` or `truncated` of a case differ, or if a metric is
        outside of the variant's gate.
    """
    recognizer.load()
    answers = [_recognize(recognizer, case) for case in reporting(cases, report)]
    for number, (case, answer) in enumerate(zip(cases, answers, strict=True), start=1):
        if (case.tokens, case.truncated) != (answer.tokens, answer.truncated):
            raise ArtifactError(
                "golden",
                f"tokens and truncated of case {number}",
                expected=(case.tokens, case.truncated),
                actual=(answer.tokens, answer.truncated),
            )
    compared = agreement([case.entities for case in cases], answers)
    if misses := family.gate_misses(compared.metrics(), variant.gate):
        raise ArtifactError("golden", f"variant {recognizer.variant}: {'; '.join(misses)}", hint=OTHER_RESULTS)
    return {
        "differing": len(compared.differing),
        "entity_f1": compared.entity_f1,
        "score_max_abs": compared.score_max_abs,
    }


def _recognize(recognizer: Recognizer, case: EntityCase) -> Entities:
    starts = None if case.sentence_starts is None else [case.sentence_starts]
    return recognizer.recognize([case.input], NerOptions(case.aggregation_strategy, case.stride, starts))[0]

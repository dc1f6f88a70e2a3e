"""Named entities from an artifact of either engine."""

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
from .loading import AUTO, OTHER_RESULTS, Figures, open_model
from .tokenizer import DEFAULT_TEXT_LIMIT


def open_recognizer(
    root: str | Path,
    variant: str = AUTO,
    *,
    threads: int | None = None,
    text_limit: int = DEFAULT_TEXT_LIMIT,
    families: Iterable[Family] = FAMILIES,
) -> Recognizer:
    """Check the artifact at `root` and wrap one of its variants.

    :raises ArtifactError: with the code of the first check that fails.
    """
    model = open_model(root, variant, task=NER, threads=threads, text_limit=text_limit, families=families)
    return cast(Recognizer, model)


def replay_entities(recognizer: Recognizer, cases: Sequence[EntityCase], family: Family, variant: Variant) -> Figures:
    """Recognize the golden cases and return `differing`, `entity_f1` and `score_max_abs` over all of them.

    :raises ArtifactError: with the code `golden` for another tokenization, or for figures outside the variant's gate.
    """
    answers = [_recognize(recognizer, case) for case in cases]
    for number, (case, answer) in enumerate(zip(cases, answers, strict=True), start=1):
        if (case.tokens, case.truncated) != (answer.tokens, answer.truncated):
            raise ArtifactError(
                "golden",
                f"tokens and truncated of case {number}",
                expected=(case.tokens, case.truncated),
                got=(answer.tokens, answer.truncated),
            )
    counted = agreement([case.entities for case in cases], answers)
    if misses := family.gate_misses(counted.metrics(), variant.gate):
        raise ArtifactError("golden", f"variant {recognizer.variant}: {'; '.join(misses)}", hint=OTHER_RESULTS)
    return {
        "differing": len(counted.differing),
        "entity_f1": counted.entity_f1,
        "score_max_abs": counted.score_max_abs,
    }


def _recognize(recognizer: Recognizer, case: EntityCase) -> Entities:
    starts = None if case.sentence_starts is None else [case.sentence_starts]
    return recognizer.recognize([case.input], NerOptions(case.aggregation_strategy, case.stride, starts))[0]

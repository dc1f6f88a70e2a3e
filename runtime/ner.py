"""Replay the golden cases of the task `ner`, which its families share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..artifacts.errors import ArtifactError
from ..artifacts.ner import EntityCase
from .entity_agreement import agreement
from .handles.recognizer import RecognizeOptions, Recognizer
from .loading import OTHER_RESULTS, Figures, OpenArtifact, Report, reporting


def options_of(case: EntityCase) -> RecognizeOptions:
    """Return the options of a golden case."""
    return RecognizeOptions(
        aggregation_strategy=case.aggregation_strategy,
        stride=case.stride,
        sentence_starts=None if case.sentence_starts is None else [case.sentence_starts],
    )


def replay_entities(
    recognizer: Recognizer,
    cases: Sequence[Any],
    opened: OpenArtifact[Any],
    report: Report,
    options: Callable[[Any], RecognizeOptions] = options_of,
) -> Figures:
    """Recognize the entities of the golden cases and compare them with the expected ones.

    :param cases: the cases, each with `input`, `entities`, `tokens` and `truncated`.
    :param options: returns the options of a case.
    :returns: the metrics `differing`, `entity_f1` and `score_max_abs` over all cases.
    :raises ArtifactError: with the code `golden` if `tokens` or `truncated` of a case differ, or if a metric is
        outside of the variant's gate.
    """
    recognizer.warm_up()
    answers = [recognizer.recognize([case.input], options(case))[0] for case in reporting(cases, report)]
    for number, (case, answer) in enumerate(zip(cases, answers, strict=True), start=1):
        if (case.tokens, case.truncated) != (answer.tokens, answer.truncated):
            raise ArtifactError(
                "golden",
                f"tokens and truncated of case {number}",
                expected=(case.tokens, case.truncated),
                actual=(answer.tokens, answer.truncated),
            )
    compared = agreement([case.entities for case in cases], answers)
    gate = opened.artifact.manifest.variants[opened.variant].gate
    if misses := opened.artifact.family.gate_misses(compared.metrics(), gate):
        raise ArtifactError("golden", f"variant {opened.variant}: {'; '.join(misses)}", hint=OTHER_RESULTS)
    return {
        "differing": len(compared.differing),
        "entity_f1": compared.entity_f1,
        "score_max_abs": compared.score_max_abs,
    }

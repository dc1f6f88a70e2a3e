"""How the options of a call become the settings of the beam search."""

from __future__ import annotations

import numpy as np

from ...artifacts.errors import ConfigError
from ...artifacts.families.summarization import GenerationDefaults, SummarizationSpec
from ..cancellation import check_timeout
from ..handles.summarizer import SummarizeOptions


def options_of(settings: GenerationDefaults) -> SummarizeOptions:
    """Return the options of a call with which the beam search has exactly the given settings."""
    return SummarizeOptions(
        num_beams=settings.num_beams,
        min_length=settings.min_length,
        max_length=settings.max_length,
        length_penalty=settings.length_penalty,
    )


def resolve_settings(options: SummarizeOptions, spec: SummarizationSpec, beam_limit: int) -> GenerationDefaults:
    """Return the settings of the beam search: the options, or the model's defaults where an option is None.

    :param beam_limit: maximum product of `num_beams` and `max_length`.
    :raises ConfigError: if a setting is out of its range.
    """
    defaults = spec.defaults
    max_length = _integer("max_length", options.max_length, defaults.max_length, 2, spec.max_target_tokens)
    min_length = _integer("min_length", options.min_length, defaults.min_length, 0, max_length)
    num_beams = _integer("num_beams", options.num_beams, defaults.num_beams, 1, None)
    if num_beams * max_length > beam_limit:
        raise ConfigError(
            "num_beams",
            expected=f"num_beams x max_length of at most beam_limit = {beam_limit}",
            actual=f"{num_beams} x {max_length}",
        )
    check_timeout(options.timeout)
    return GenerationDefaults(num_beams, min_length, max_length, _penalty(options, defaults))


def _integer(name: str, value: int | None, default: int, minimum: int, maximum: int | None) -> int:
    """Return the value of an integer option, or the default if the value is None.

    :raises ConfigError: if the result is not an integer in the range.
    """
    chosen = default if value is None else value
    if type(chosen) is not int or chosen < minimum or (maximum is not None and chosen > maximum):
        expected = f"at least {minimum}" if maximum is None else f"{minimum} to {maximum}"
        origin = "" if value is not None else " (the model's default)"
        raise ConfigError(name, expected=expected, actual=f"{chosen!r}{origin}")
    return chosen


def _penalty(options: SummarizeOptions, defaults: GenerationDefaults) -> float:
    value = defaults.length_penalty if options.length_penalty is None else options.length_penalty
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not abs(value) <= float(np.finfo(np.float32).max):  # false for NaN
        raise ConfigError("length_penalty", expected="a number that is finite as float32", actual=repr(value))
    return float(value)

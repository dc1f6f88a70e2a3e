"""The settings of a summary's search: what a call says, what it leaves to the model, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...artifacts.errors import ConfigError
from ...artifacts.families.summarization import GenerationDefaults, SummarizationSpec
from ..cancellation import CancelToken, check_timeout


@dataclass(frozen=True)
class SummarizeOptions:
    """Settings of one call; None stands for the model's own. Lengths count tokens, the decoder's start token too.

    `map_reduce` reads longer inputs in parts instead of cutting them. `timeout` is in seconds, from the start of the
    call; `cancel` stops it from another thread. `progress` is called with how many texts of a round are done and how
    many it has: inputs, or parts of them.
    """

    num_beams: int | None = None
    min_length: int | None = None
    max_length: int | None = None
    length_penalty: float | None = None
    map_reduce: bool = False
    timeout: float | None = None
    cancel: CancelToken | None = None
    progress: Callable[[int, int], None] | None = None


def options_of(settings: GenerationDefaults) -> SummarizeOptions:
    """Options of a call that leaves none of these settings to the model."""
    return SummarizeOptions(settings.num_beams, settings.min_length, settings.max_length, settings.length_penalty)


def resolve_settings(options: SummarizeOptions, spec: SummarizationSpec, beam_limit: int) -> GenerationDefaults:
    """The settings that a call searches with.

    :param beam_limit: the largest product of beams and `max_length`.
    :raises ConfigError: for one that is out of its range.
    """
    defaults = spec.defaults
    max_length = _whole("max_length", options.max_length, defaults.max_length, 2, spec.max_target_tokens)
    min_length = _whole("min_length", options.min_length, defaults.min_length, 0, max_length)
    num_beams = _whole("num_beams", options.num_beams, defaults.num_beams, 1, None)
    if num_beams * max_length > beam_limit:
        raise ConfigError(
            "num_beams",
            expected=f"num_beams x max_length of at most beam_limit = {beam_limit}",
            got=f"{num_beams} x {max_length}",
        )
    check_timeout(options.timeout)
    return GenerationDefaults(num_beams, min_length, max_length, _penalty(options, defaults))


def _whole(name: str, value: int | None, default: int, least: int, most: int | None) -> int:
    chosen = default if value is None else value
    if type(chosen) is not int or chosen < least or (most is not None and chosen > most):
        expected = f"at least {least}" if most is None else f"{least} to {most}"
        given = "" if value is not None else " (the model's own)"
        raise ConfigError(name, expected=expected, got=f"{chosen!r}{given}")
    return chosen


def _penalty(options: SummarizeOptions, defaults: GenerationDefaults) -> float:
    value = defaults.length_penalty if options.length_penalty is None else options.length_penalty
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not abs(value) <= float(np.finfo(np.float32).max):  # NaN is not
        raise ConfigError("length_penalty", expected="a number that is finite as float32", got=repr(value))
    return float(value)

"""The inputs of summarizers, composed of parity texts: from one short message to more tokens than the model reads."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...artifacts.families.summarization import GenerationDefaults
from ..texts import HARD, PLAIN, parity_texts, text_group

_SEED = 20260601
_SHORT, _SEVERAL, _LONG, _OVER_LIMIT, _HARD = 12, 16, 9, 6, 5
_MAX_WORDS = 60  # maximum number of words of a message; parity texts with more words are not used as messages
_OTHER_EVERY = 4


@dataclass(frozen=True)
class SummaryInput:
    """The messages of one input, and the settings of its call."""

    messages: tuple[str, ...]
    settings: GenerationDefaults


def summary_inputs(
    defaults: GenerationDefaults, max_tokens: int, max_target_tokens: int, limit: int | None = None
) -> list[SummaryInput]:
    """Return the inputs for a model; the result depends only on the arguments.

    Every list of messages has the default settings, and every fourth has other settings too.

    :param max_tokens: the maximum number of tokens of a text; some inputs exceed it.
    :param max_target_tokens: the maximum length of a summary.
    :param limit: the maximum number of inputs; if there are more, evenly spaced inputs are chosen.
    """
    messages = _message_lists(max_tokens)
    others = _other_settings(defaults, max_target_tokens)
    varied = [SummaryInput(each, others[index % len(others)]) for index, each in enumerate(messages[::_OTHER_EVERY])]
    inputs = [*(SummaryInput(each, defaults) for each in messages), *varied]
    return inputs if limit is None else inputs[:: math.ceil(len(inputs) / limit)]


def _other_settings(defaults: GenerationDefaults, limit: int) -> list[GenerationDefaults]:
    longest = defaults.max_length
    shorter, longer = max(2, longest // 2), min(limit, longest + longest // 2)
    others = [
        replace(defaults, num_beams=1),
        replace(defaults, num_beams=2, min_length=0, max_length=shorter),
        replace(defaults, min_length=min(longest // 3, longest), length_penalty=0.5),
        replace(defaults, num_beams=3, max_length=longer, length_penalty=2.5),
        replace(defaults, num_beams=1, min_length=shorter, max_length=longer),
        replace(defaults, num_beams=2, min_length=0, length_penalty=-1.0),
    ]
    return list(dict.fromkeys(others))


def _message_lists(max_tokens: int) -> list[tuple[str, ...]]:
    source = random.Random(_SEED)
    texts = [text for text in parity_texts() if text.strip() and len(text.split()) <= _MAX_WORDS]
    plain = [text for text in texts if text_group(text) == PLAIN]
    hard = [text for text in texts if text_group(text) == HARD]
    counts = [
        *[1] * _SHORT,
        *(source.randint(2, 6) for _ in range(_SEVERAL)),
        *(source.randint(8, 20) for _ in range(_LONG)),
    ]
    lists = [tuple(source.sample(plain, count)) for count in counts]
    lists += [_over_limit(source, plain, max_tokens) for _ in range(_OVER_LIMIT)]
    lists += [tuple(source.sample(hard, source.randint(1, 4))) for _ in range(_HARD)]
    source.shuffle(lists)
    return lists


def _over_limit(source: random.Random, texts: Sequence[str], max_tokens: int) -> tuple[str, ...]:
    """Return messages with more words, and therefore more tokens, than the model reads."""
    messages: list[str] = []
    words = 0
    while words <= max_tokens:
        messages.append(source.choice(texts))
        words += len(messages[-1].split())
    return tuple(messages)

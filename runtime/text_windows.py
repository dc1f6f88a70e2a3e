"""Split a long text into windows of tokens for a sentence embedding model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..artifacts.errors import ConfigError, StoppedError
from .tokenizer import TextTokenizer


@dataclass(frozen=True, eq=False)
class TextWindow:
    """The tokens of one window: `ids`, with special tokens and the prompt, is int64 `[n]`.

    `start` and `end` are its offsets in the text, in characters. `new_tokens` is the number of tokens of the text that
    no earlier window has.
    """

    ids: NDArray[np.int64]
    start: int
    end: int
    new_tokens: int


def reloaded() -> StoppedError:
    """Return the error of a text whose windows are those of a version of the model that was replaced."""
    return StoppedError("cancelled", "the model was reloaded while the windows of a text were read")


def text_windows(tokenizer: TextTokenizer, prompt: str, text: str, stride: int) -> Iterator[TextWindow]:
    """Yield the windows of a text, at least one, each with the prompt and special tokens.

    :param stride: number of tokens of the text that consecutive windows share.
    :raises ConfigError: if the stride is not less than the number of tokens of the text in a window.
    """
    whole = tokenizer.encode_whole(prompt + text)
    # A token that covers the end of the prompt and the start of the text belongs to the text
    own = int(np.searchsorted(whole.ends, len(prompt), side="right")) if prompt else 0
    size = tokenizer.max_text_tokens - own
    if type(stride) is not int or not 0 <= stride < size:
        raise ConfigError("stride", expected=f"an integer from 0 to {size - 1}", actual=repr(stride))
    head, tail = np.concatenate([whole.prefix, whole.ids[:own]]), whole.suffix
    ids, starts = whole.ids[own:], np.maximum(whole.starts[own:] - len(prompt), 0)
    ends = np.maximum(whole.ends[own:] - len(prompt), 0)
    for first in range(0, max(len(ids) - stride, 1), size - stride):
        window = slice(first, min(first + size, len(ids)))
        new = window.stop - first - (stride if first else 0)
        start, end = (int(starts[first]), int(ends[window][-1])) if len(ids) else (0, len(text))
        yield TextWindow(np.concatenate([head, ids[window], tail]), start, end, max(new, 1))

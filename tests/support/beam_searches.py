"""Compare the beam search of a graph with transformers' `generate`, sequence by sequence, with many settings."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx_ml_bridge.artifacts.families.summarization import GenerationDefaults
from onnx_ml_bridge.export.summarization.settings import describe_generation
from onnx_ml_bridge.graphs.files import save_graph
from onnx_ml_bridge.graphs.summarization.composition import compose_graph
from onnx_ml_bridge.graphs.summarization.parts import SummarizerParts
from onnx_ml_bridge.runtime.session import create_session
from onnx_ml_bridge.runtime.summarization.summarizer import token_ids
from small_seq2seq import BART, POSITIONS, Specials, generation_config

# If the scores of two sequences differ by less than this, rounding errors decide, and both are correct answers.
TIE = 1e-5


@dataclass(frozen=True)
class Call:
    """The inputs of one run: ids and mask, int64 `[batch, tokens]`, and settings."""

    ids: NDArray[np.int64]
    mask: NDArray[np.int64]
    settings: GenerationDefaults

    def feeds(self) -> dict[str, NDArray[Any]]:
        """Return the graph's inputs by name."""
        settings = self.settings
        return {
            "input_ids": self.ids,
            "attention_mask": self.mask,
            "num_beams": np.array([settings.num_beams]),
            "min_length": np.array([settings.min_length]),
            "max_length": np.array([settings.max_length]),
            "length_penalty": np.array([settings.length_penalty], np.float32),
        }


@dataclass
class Tally:
    """Counts over all sequences; `ties` holds both scores of each sequence that differs with a tie (see `TIE`)."""

    sequences: int = 0
    differing: list[tuple[Call, dict[str, Any], list[int], list[int]]] = field(default_factory=list)
    ties: list[tuple[float, float]] = field(default_factory=list)
    ended_early: int = 0
    unlike_greedy: int = 0
    score_max_relative: float = 0.0


def fixed_settings(specials: Specials = BART) -> Iterator[dict[str, Any]]:
    """Yield the settings that are fixed in a graph.

    They forbid repeated n-grams of 0 to 4 tokens, stop in three ways, and force the first or last token or do not.
    """
    for index, (early, size) in enumerate((early, size) for early in (True, False, "never") for size in range(5)):
        forced = {
            "forced_bos_token_id": None if index % 3 == 1 else specials.first,
            "forced_eos_token_id": None if index % 2 else specials.eos,
        }
        yield {"early_stopping": early, "no_repeat_ngram_size": size, **forced}


def calls(source: random.Random, count: int, vocab_size: int, specials: Specials = BART) -> Iterator[Call]:
    """Yield batches of 1 to 6 random texts of different lengths, with random settings."""
    around = len(specials.prefix) + len(specials.suffix)
    for _ in range(count):
        lengths = [source.randint(3, 40) for _ in range(source.randint(1, 6))]
        ids = np.full((len(lengths), max(lengths)), specials.pad, np.int64)
        mask = np.zeros_like(ids)
        for row, length in enumerate(lengths):
            text = (source.randrange(3, vocab_size) for _ in range(length - around))
            ids[row, :length] = [*specials.prefix, *text, *specials.suffix]
            mask[row, :length] = 1
        longest = source.choice((2, 8, 16, 24, 40, 40, 40, 56))
        settings = GenerationDefaults(
            num_beams=source.choice((1, 2, 3, 4, 4, 5, 6)),
            min_length=source.choice((0, 0, 0, 0, 5, longest)) if longest > 5 else 0,
            max_length=longest,
            length_penalty=source.choice((-1.0, 0.0, 0.5, 1.0, 2.0)),
        )
        yield Call(ids, mask, settings)


def session_of(parts: SummarizerParts, folder: Path, specials: Specials = BART, **fixed: Any) -> Any:
    """Return a session for the graph with these fixed settings."""
    settings = generation_config(specials, **{"max_length": POSITIONS, **fixed})
    spec = describe_generation(settings, POSITIONS, 1 << 20)
    save_graph(compose_graph(parts, spec, specials.pad), folder, "onnx/model.onnx")
    return create_session(folder / "onnx/model.onnx", 1)


def original(
    model: Any, call: Call, fixed: dict[str, Any], specials: Specials = BART
) -> tuple[list[list[int]], list[float] | None]:
    """Return the result of `generate`: sequences without padding, and their scores if there are several beams."""
    settings = generation_config(specials, **fixed, **asdict(call.settings))
    model.generation_config = settings  # `generate` takes settings that are not arguments from here
    with torch.no_grad():
        result = model.generate(
            input_ids=torch.from_numpy(call.ids),
            attention_mask=torch.from_numpy(call.mask),
            return_dict_in_generate=True,
            output_scores=True,
        )
    scores = None if call.settings.num_beams == 1 else [float(score) for score in result.sequences_scores]
    return [list(token_ids(row.numpy(), specials.eos, specials.pad)) for row in result.sequences], scores


def compare(
    model: Any, session: Any, call: Call, fixed: dict[str, Any], tally: Tally, specials: Specials = BART
) -> None:
    """Run a call with the model and with the graph, and add the comparison to the tally."""

    def trimmed(row: NDArray[np.int64]) -> list[int]:
        return list(token_ids(row, specials.eos, specials.pad))

    expected, expected_scores = original(model, call, fixed, specials)
    rows, scores = session.run(["sequences", "sequences_scores"], call.feeds())
    greedy = session.run(["sequences"], replace_beams(call, 1).feeds())[0]
    for index, reference in enumerate(expected):
        actual = trimmed(rows[index])
        tally.sequences += 1
        tally.ended_early += len(reference) < call.settings.max_length
        tally.unlike_greedy += reference != trimmed(greedy[index])
        distance = abs(expected_scores[index] - float(scores[index])) if expected_scores else 0.0
        if actual == reference:
            size = max(1.0, abs(expected_scores[index])) if expected_scores else 1.0
            tally.score_max_relative = max(tally.score_max_relative, distance / size)
        elif expected_scores and distance < TIE:
            tally.ties.append((expected_scores[index], float(scores[index])))
        else:
            tally.differing.append((call, fixed, reference, actual))


def replace_beams(call: Call, num_beams: int) -> Call:
    """Return the same call with another number of beams."""
    return replace(call, settings=replace(call.settings, num_beams=num_beams))

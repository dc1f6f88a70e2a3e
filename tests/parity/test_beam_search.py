"""Compare the beam search of the graph with `generate`, sequence by sequence.

At least a third of the sequences must end before the maximum length, and at least a third must differ from those of
greedy search, so that the comparison covers these cases. ONNX_ML_BRIDGE_SEQUENCES is the minimum number of sequences of
each model.
"""

from __future__ import annotations

import itertools
import os
import random

import pytest
import torch
from beam_searches import Tally, calls, compare, fixed_settings, session_of
from model_results import record
from onnx_ml_bridge.export.summarization.tracing import trace_parts
from small_seq2seq import architecture_of, random_summarizer, specials_of

SEQUENCES = int(os.environ.get("ONNX_ML_BRIDGE_SEQUENCES", "30"))
VOCABULARY = 90
# The id of the language code of an mBART
LANGUAGE = 80
MODELS = {
    "bart": {"seed": 1, "eos_bias": 4.5},
    "bart, relu, scaled embeddings": {
        "seed": 2,
        "eos_bias": 6.5,
        "activation_function": "relu",
        "scale_embedding": True,
    },
    "mbart": {"seed": 3, "eos_bias": 6.5},
    "mbart50": {"seed": 4, "eos_bias": 5.0},
    "pegasus": {"seed": 8, "eos_bias": 5.5},
}


@pytest.fixture(autouse=True)
def one_thread():
    """Use one thread, because several threads are not faster for such small models."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", MODELS)
def test_sequences_are_those_of_generate(name, tmp_path):
    kind = name.partition(",")[0]
    specials = specials_of(kind, LANGUAGE)
    model = random_summarizer(architecture_of(kind), specials, vocab_size=VOCABULARY, **MODELS[name])
    parts = trace_parts(model)
    tally, source = Tally(), random.Random(name)
    sessions = [
        (fixed, session_of(parts, tmp_path / str(index), specials, **fixed))
        for index, fixed in enumerate(fixed_settings(specials))
    ]
    for fixed, session in itertools.cycle(sessions):
        for call in calls(source, 2, VOCABULARY, specials):
            compare(model, session, call, fixed, tally, specials)
        if tally.sequences >= SEQUENCES and fixed is sessions[-1][0]:
            break
    figures = {"sequences": tally.sequences, "search differing": len(tally.differing)}
    if name == kind:  # one model of each kind is recorded
        record("summaries", name, {"model_type": architecture_of(kind), **figures})
    print(
        f"{name}: {tally.sequences} sequences, {len(tally.differing)} differ, {len(tally.ties)} ties {tally.ties}, "
        f"{tally.ended_early} ended early, {tally.unlike_greedy} unlike greedy search, "
        f"scores within {tally.score_max_relative:.1e}"
    )
    assert tally.differing == []
    assert len(tally.ties) <= tally.sequences / 100
    assert tally.ended_early >= tally.sequences / 3
    assert tally.unlike_greedy >= tally.sequences / 3
    assert tally.score_max_relative < 1e-5

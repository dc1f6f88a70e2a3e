"""Composes the parts of a summarizer and the search into one graph, from token ids to the best sequences."""

from __future__ import annotations

import re

import numpy as np
import onnx_ir as ir

from ...artifacts.families.summarization import SummarizationSpec
from ..graph_builder import GraphBuilder
from . import functions as search
from .parts import MASKED, SummarizerParts
from .state import FLOAT, INT64, Constants, Inputs, State
from .step import StepComposer

# The names of values are part of the sealed bytes of an artifact. They come from the functions of the search and from
# their variables, some of which had other names when the first artifacts were sealed. The graph keeps the old names.
SEALED_NAMES = {
    "best_score_length": "longest_if_rewarded",
    "candidate_count": "wanted",
    "empty_cache": "no_cache",
    "new_token_mask": "beams_apart",
    "next_beams": "go_on",
    "positions": "places",
    "slot_count": "most",
    "token_positions": "places_of",
}


def compose_graph(parts: SummarizerParts, spec: SummarizationSpec, pad_token_id: int) -> ir.Model:
    """Return the graph of the role `generate`; FORMAT.md, "Summaries", defines its inputs, outputs and search.

    :param parts: the fp32 or the int8 parts.
    """
    main = GraphBuilder()
    inputs = _inputs(main)
    constants = _encode(main, parts, spec, inputs)
    state = _start(main, parts, spec, inputs, pad_token_id)
    steps = main.op("Squeeze", main.op("Sub", inputs.max_length, main.integers(1)))
    always = main.constant(np.array(True), name="always")
    body = StepComposer(main, parts, spec, inputs, constants).compose()
    carried = state.values()
    last = State.from_values(main.node("Loop", [steps, always, *carried], len(carried), attributes={"body": body}))
    sequences, scores = main.call(search.best_finished, last.done_sequences, last.done_scores, last.cur)
    model = main.model(
        {"sequences": (sequences, INT64, ["batch", "length"]), "sequences_scores": (scores, FLOAT, ["batch"])}
    )
    _restore_sealed_names(model)
    return model


def _inputs(main: GraphBuilder) -> Inputs:
    return Inputs(
        input_ids=main.input("input_ids", INT64, ["batch", "tokens"]),
        attention_mask=main.input("attention_mask", INT64, ["batch", "tokens"]),
        num_beams=main.input("num_beams", INT64, [1]),
        min_length=main.input("min_length", INT64, [1]),
        max_length=main.input("max_length", INT64, [1]),
        length_penalty=main.input("length_penalty", FLOAT, [1]),
    )


def _encode(main: GraphBuilder, parts: SummarizerParts, spec: SummarizationSpec, inputs: Inputs) -> Constants:
    """Run the encoder, and compute the values that are the same in all steps."""
    (embedded,) = main.splice(parts.embed, [inputs.input_ids], "", main)
    cross_mask, *cross = main.splice(parts.encoder, [embedded, inputs.attention_mask], "encoder.", main)
    # Greedy search (one beam) stops at its first finished sequence, whatever the model's setting `early_stopping` is
    early_stopping = main.constant([spec.fixed.early_stopping is True], name="early_stopping")
    is_early = main.op("Or", main.op("Equal", inputs.num_beams, main.integers(1)), early_stopping)
    masked = main.constant(MASKED, np.float32, name="masked")
    (new_mask,) = main.call(search.new_token_mask, inputs.num_beams, masked)
    return Constants(is_early, new_mask, cross_mask, tuple(cross))


def _start(
    main: GraphBuilder, parts: SummarizerParts, spec: SummarizationSpec, inputs: Inputs, pad_token_id: int
) -> State:
    """Return the state of the search before its first step."""
    start_token, pad_token = main.integers(spec.decoder_start_token_id), main.integers(pad_token_id)
    tokens, sequences, scores, done_scores, is_done, is_open, past_mask = main.call(
        search.start, inputs.input_ids, inputs.num_beams, inputs.max_length, start_token, pad_token
    )
    (cache,) = main.call(search.empty_cache, inputs.input_ids, main.integers(parts.heads, parts.head_size))
    return State(
        cur=main.integers(1),
        tokens=tokens,
        sequences=sequences,
        scores=scores,
        done_sequences=sequences,
        done_scores=done_scores,
        is_done=is_done,
        is_open=is_open,
        past_mask=past_mask,
        caches=(cache,) * (2 * parts.layers),
    )


def _restore_sealed_names(model: ir.Model) -> None:
    """Rename the values of `SEALED_NAMES`; a name may end with numbers, as `positions_2` does."""
    for node in model.graph.all_nodes():
        for output in node.outputs:
            base, numbers = re.fullmatch(r"(.*?)((?:_\d+)*)", str(output.name)).groups()  # type: ignore[union-attr]
            if base in SEALED_NAMES:
                output.name = SEALED_NAMES[base] + numbers

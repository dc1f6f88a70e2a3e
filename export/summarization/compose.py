"""Puts the networks and the search together: one graph from token ids to the best sequences."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from ...artifacts.families.summarization import SummarizationSpec
from ..graph_files import OPSET, clean
from . import search
from .builder import GraphBuilder
from .modules import MASKED
from .networks import GenerateParts, value

# Slots of the cache that no beam sees any more are dropped every so many steps: 18% faster for six texts, with 37% less
# memory. Each time costs a copy of the caches, so more often is not better.
COMPACT_EVERY = 8
_FLOAT, _INT64, _BOOL = ir.DataType.FLOAT, ir.DataType.INT64, ir.DataType.BOOL


@dataclass(frozen=True)
class _State:
    """What a step hands to the next one; `caches` are keys and values of every layer, in turn."""

    cur: ir.Value
    tokens: ir.Value
    sequences: ir.Value
    scores: ir.Value
    done_sequences: ir.Value
    done_scores: ir.Value
    is_done: ir.Value
    is_open: ir.Value
    past_mask: ir.Value
    caches: tuple[ir.Value, ...]

    def values(self) -> list[ir.Value]:
        """All of it in the order of the fields."""
        return [getattr(self, name) for name in _KINDS] + list(self.caches)

    @classmethod
    def of(cls, values: list[ir.Value]) -> _State:
        """The reverse of `values`."""
        cur, tokens, sequences, scores, done_sequences, done_scores, is_done, is_open, past_mask, *caches = values
        return cls(
            cur, tokens, sequences, scores, done_sequences, done_scores, is_done, is_open, past_mask, tuple(caches)
        )


# Element type and dimensions of every field of the state but the caches.
_KINDS = {
    "cur": (_INT64, (1,)),
    "tokens": (_INT64, ("beams", "batch")),
    "sequences": (_INT64, ("batch", "beams", "max_length")),
    "scores": (_FLOAT, ("batch", "beams")),
    "done_sequences": (_INT64, ("batch", "beams", "max_length")),
    "done_scores": (_FLOAT, ("batch", "beams")),
    "is_done": (_BOOL, ("batch", "beams")),
    "is_open": (_BOOL, ("batch", 1)),
    "past_mask": (_FLOAT, ("batch", "beams", None)),
}


@dataclass(frozen=True)
class _Source:
    """What all steps read: the graph's inputs, what the encoder gives, and masks."""

    num_beams: ir.Value
    min_length: ir.Value
    max_length: ir.Value
    length_penalty: ir.Value
    is_early: ir.Value
    new_mask: ir.Value
    cross_mask: ir.Value
    cross: tuple[ir.Value, ...]


def compose_graph(parts: GenerateParts, spec: SummarizationSpec, pad_token_id: int) -> ir.Model:
    """The graph of the role `generate`; FORMAT.md, "Summaries", defines its inputs, outputs and search.

    :param parts: the networks, in any precision.
    """
    return _Composer(parts, spec, pad_token_id).compose()


class _Composer:
    def __init__(self, parts: GenerateParts, spec: SummarizationSpec, pad_token_id: int) -> None:
        self._parts, self._spec, self._pad = parts, spec, pad_token_id
        self._main = GraphBuilder()

    def compose(self) -> ir.Model:
        main = self._main
        ids, mask = (value(name, _INT64, "batch", "tokens") for name in ("input_ids", "attention_mask"))
        beams, shortest, longest = (value(name, _INT64, 1) for name in ("num_beams", "min_length", "max_length"))
        penalty = value("length_penalty", _FLOAT, 1)
        (embedded,) = main.splice(self._parts.embed, [ids], "", main)
        cross_mask, *cross = main.splice(self._parts.encoder, [embedded, mask], "encoder.", main)
        source = _Source(
            beams, shortest, longest, penalty, self._is_early(beams), self._new_mask(beams), cross_mask, tuple(cross)
        )
        first = self._start(ids, source)
        steps = main.op("Squeeze", main.op("Sub", longest, main.integers(1)))
        always = main.constant("always", np.array(True))
        body = ir.Attr("body", ir.AttributeType.GRAPH, self._body(source, first))
        last = _State.of(
            main.node("Loop", [steps, always, *first.values()], len(first.values()), attributes={"body": body})
        )
        outputs = main.call(search.best_finished, last.done_sequences, last.done_scores, last.cur)
        named = (value("sequences", _INT64, "batch", "length"), value("sequences_scores", _FLOAT, "batch"))
        for output, wanted in zip(outputs, named, strict=True):
            output.type, output.shape = wanted.type, wanted.shape
        graph = main.graph([ids, mask, beams, shortest, longest, penalty], outputs, "main")
        domains = {"": OPSET} | dict(self._parts.step.opset_imports) | dict(self._parts.score.opset_imports)
        model = main.model(graph, {**domains, "": OPSET})
        for output, wanted in zip(graph.outputs, named, strict=True):
            output.name = wanted.name
        clean(model)
        return model

    def _is_early(self, beams: ir.Value) -> ir.Value:
        """Whether a text is done once `num_beams` sequences are: as the model says, and always for greedy search."""
        main = self._main
        told = main.constant("early_stopping", np.array([self._spec.fixed.early_stopping is True]))
        return main.op("Or", main.op("Equal", beams, main.integers(1)), told)

    def _new_mask(self, beams: ir.Value) -> ir.Value:
        masked = self._main.constant("masked", np.array(MASKED, np.float32))
        return self._main.call(search.beams_apart, beams, masked)[0]

    def _start(self, ids: ir.Value, source: _Source) -> _State:
        main, parts = self._main, self._parts
        tokens, sequences, scores, done_scores, is_done, is_open, past_mask = main.call(
            search.start,
            ids,
            source.num_beams,
            source.max_length,
            main.integers(self._spec.decoder_start_token_id),
            main.integers(self._pad),
        )
        (cache,) = main.call(search.no_cache, ids, main.integers(parts.heads, parts.head_size))
        return _State(
            main.integers(1),
            tokens,
            sequences,
            scores,
            sequences,
            done_scores,
            is_done,
            is_open,
            past_mask,
            (cache,) * (2 * parts.layers),
        )

    def _body(self, source: _Source, first: _State) -> ir.Graph:
        """One step: read a token per beam, score the next ones, choose."""
        body = GraphBuilder(self._main)
        turn, condition = value("turn", _INT64), value("condition", _BOOL)
        inputs = [value(f"in_{name}", kind, *dims) for name, (kind, dims) in _KINDS.items()]
        cache_dims = (None, "batch", self._parts.heads, self._parts.head_size)
        inputs += [value(f"in_cache_{place}", _FLOAT, *cache_dims) for place in range(len(first.caches))]
        state = _State.of(inputs)
        log_probs, mask, caches = self._read(body, source, state)
        log_probs = self._constrain(body, source, state, log_probs)
        after, parents, goes_on = self._choose(body, source, state, log_probs)
        (inherited,) = body.call(search.inherit, mask, parents)
        kept = self._compact(body, state.cur, [inherited, *caches])
        after = replace(after, past_mask=kept[0], caches=tuple(kept[1:]))
        # What passes a step unchanged, or leaves it twice, needs a name of its own
        outputs = [body.op("Identity", output) for output in (goes_on, *after.values())]
        for output, given in zip(outputs[1:], inputs, strict=True):
            output.type, output.shape = given.type, given.shape
        outputs[0].type, outputs[0].shape = condition.type, condition.shape
        return body.graph([turn, condition, *inputs], outputs, "step")

    def _read(self, body: GraphBuilder, source: _Source, state: _State) -> tuple[ir.Value, ir.Value, list[ir.Value]]:
        """The logarithms of the next tokens' probabilities `[beams * batch, tokens]`, the mask and the caches."""
        main, parts = self._main, self._parts
        (embedded,) = body.splice(parts.embed, [state.tokens], "", main)
        (places,) = body.call(search.places_of, state.cur, source.num_beams)
        hidden, mask, *caches = body.splice(
            parts.step,
            [
                embedded,
                places,
                state.past_mask,
                source.new_mask,
                source.cross_mask,
                *state.caches[::2],
                *state.caches[1::2],
                *source.cross[::2],
                *source.cross[1::2],
            ],
            "step.",
            body,
        )
        (logits,) = body.splice(parts.score, [hidden], "", main)
        return body.op("LogSoftmax", logits, axis=-1), mask, caches

    def _constrain(self, body: GraphBuilder, source: _Source, state: _State, log_probs: ir.Value) -> ir.Value:
        """The processors of the reference, in its order."""
        fixed, numbers = self._spec.fixed, self._main.integers
        if fixed.no_repeat_ngram_size:
            (rows,) = body.call(search.beam_rows, state.sequences)
            size = [numbers(fixed.no_repeat_ngram_size)] if fixed.no_repeat_ngram_size > 1 else []
            forbid = search.forbid_repeats if size else search.forbid_seen
            (log_probs,) = body.call(forbid, log_probs, rows, state.cur, *size)
        eos = numbers(self._spec.eos_token_id)
        (log_probs,) = body.call(search.forbid_end, log_probs, state.cur, source.min_length, eos)
        if fixed.forced_bos_token_id is not None:
            (log_probs,) = body.call(search.force, log_probs, state.cur, numbers(1), numbers(fixed.forced_bos_token_id))
        if fixed.forced_eos_token_id is not None:
            last = body.op("Sub", source.max_length, numbers(1))
            (log_probs,) = body.call(search.force, log_probs, state.cur, last, numbers(fixed.forced_eos_token_id))
        return log_probs

    def _choose(
        self, body: GraphBuilder, source: _Source, state: _State, log_probs: ir.Value
    ) -> tuple[_State, ir.Value, ir.Value]:
        """The state after the step but for mask and caches, the beams that beams come from, whether to go on."""
        beams, cur, longest = source.num_beams, state.cur, source.max_length
        sums, tokens, parents = body.call(search.candidates, log_probs, state.scores, beams)
        (sequences,) = body.call(search.extend, state.sequences, parents, tokens, cur, longest)
        (is_end,) = body.call(search.ends, tokens, cur, longest, self._main.integers(self._spec.eos_token_id))
        scores, running, parents, tokens = body.call(search.go_on, sums, is_end, sequences, parents, tokens, beams)
        (scored,) = body.call(search.penalized, sums, cur, source.length_penalty)
        done_scores, done, is_done = body.call(
            search.finish,
            scored,
            is_end,
            sequences,
            state.done_scores,
            state.done_sequences,
            state.is_done,
            state.is_open,
            source.is_early,
            beams,
        )
        (best,) = body.call(search.penalized, scores, self._hoped_length(body, source, cur), source.length_penalty)
        (is_open,) = body.call(search.improvable, best, done_scores, is_done, state.is_open)
        (goes_on,) = body.call(search.unfinished, is_open, is_done, is_end, source.is_early)
        after = body.op("Add", cur, self._main.integers(1))
        return (
            _State(after, tokens, running, scores, done, done_scores, is_done, is_open, state.past_mask, state.caches),
            parents,
            goes_on,
        )

    def _hoped_length(self, body: GraphBuilder, source: _Source, cur: ir.Value) -> ir.Value:
        """The length that the best score of an unfinished beam is judged by."""
        if self._spec.fixed.early_stopping != "never":
            return cur
        (length,) = body.call(search.longest_if_rewarded, cur, source.max_length, source.length_penalty)
        return length

    def _compact(self, body: GraphBuilder, cur: ir.Value, given: list[ir.Value]) -> list[ir.Value]:
        """Mask and caches, every so many steps without the slots that no beam sees any more."""
        rest = body.op("Mod", cur, self._main.integers(COMPACT_EVERY))
        is_time = body.op("Squeeze", body.op("Equal", rest, self._main.integers(0)))
        compacting, keeping = GraphBuilder(body), GraphBuilder(body)
        (order,) = compacting.call(search.live_slots, given[0])
        compacted = compacting.call(search.compact_mask, given[0], order)
        for cache in given[1:]:
            compacted += compacting.call(search.compact_cache, cache, order)
        kept = [keeping.op("Identity", each) for each in given]
        branches = {
            "then_branch": compacting.graph([], compacted, "compact"),
            "else_branch": keeping.graph([], kept, "keep"),
        }
        attributes = {name: ir.Attr(name, ir.AttributeType.GRAPH, graph) for name, graph in branches.items()}
        return body.node("If", [is_time], len(given), attributes=attributes)

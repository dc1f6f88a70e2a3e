"""The steps of beam search as onnxscript functions.

FORMAT.md, "Summaries", defines the search; the reference is `generate` of transformers. Sizes: `B` texts, `N` beams,
`L` the maximum length, `V` tokens of the vocabulary, `K = 2 N` candidates, `T` slots of the cache. `cur` is the number
of tokens in every sequence so far, the start token included. `cur` and the settings are tensors of one element, `[1]`.
"""

# No `from __future__ import annotations`: onnxscript evaluates annotations
from onnxscript import opset20 as op
from onnxscript import script, values

DOMAIN = values.Opset("onnx_ml_bridge.search", 1)
BOOL, INT32, INT64, FLOAT, DOUBLE = 9, 6, 7, 1, 11


@script(DOMAIN, default_opset=op)
def start(input_ids, num_beams, max_length, start_token, pad_token):
    """Return the state before the first step: one sequence per beam, which holds the start token.

    Only the first beam has the score 0, the others have -1e9: at the start all beams hold the same sequence, so all
    candidates must come from one of them.

    :return: the tokens to read `[N, B]`, sequences `[B, N, L]`, scores `[B, N]`, the scores `[B, N]` and flags `[B, N]`
        of finished sequences, flags of texts whose search is open `[B, 1]`, and the mask of an empty cache `[B, N, 0]`.
    """
    batch = op.Shape(input_ids, start=0, end=1)
    per_beam = op.Concat(batch, num_beams, axis=0)
    per_token = op.Concat(batch, num_beams, max_length, axis=0)
    positions = op.Range(op.Constant(value_int=0), op.Squeeze(max_length), op.Constant(value_int=1))
    row = op.Where(op.Equal(positions, op.Constant(value_ints=[0])), start_token, pad_token)
    sequences = op.Expand(row, per_token)  # [B, N, L]
    beams = op.Range(op.Constant(value_int=0), op.Squeeze(num_beams), op.Constant(value_int=1))
    is_first = op.Equal(beams, op.Constant(value_ints=[0]))
    low = op.Constant(value_float=-1e9)
    scores = op.Expand(op.Where(is_first, op.Constant(value_float=0.0), low), per_beam)  # [B, N]
    done_scores = op.Expand(low, per_beam)
    is_done = op.Not(op.Cast(op.Expand(op.Constant(value_int=1), per_beam), to=BOOL))
    is_open = op.Cast(
        op.Expand(op.Constant(value_int=1), op.Concat(batch, op.Constant(value_ints=[1]), axis=0)), to=BOOL
    )
    tokens = op.Expand(start_token, op.Concat(num_beams, batch, axis=0))  # [N, B]
    past_mask = op.Expand(
        op.Constant(value_float=0.0), op.Concat(per_beam, op.Constant(value_ints=[0]), axis=0)
    )  # [B, N, 0]
    return tokens, sequences, scores, done_scores, is_done, is_open, past_mask


@script(DOMAIN, default_opset=op)
def new_token_mask(num_beams, masked):
    """Return the attention mask `[N, N]` between the tokens of one step: 0 for a beam's own token, else `masked`."""
    beams = op.Range(op.Constant(value_int=0), op.Squeeze(num_beams), op.Constant(value_int=1))
    is_own = op.Equal(
        op.Unsqueeze(beams, op.Constant(value_ints=[0])), op.Unsqueeze(beams, op.Constant(value_ints=[1]))
    )
    return op.Where(is_own, op.Constant(value_float=0.0), masked)


@script(DOMAIN, default_opset=op)
def empty_cache(input_ids, heads_and_size):
    """Return an empty cache of keys or values, float32 `[0, B, heads, head_size]`."""
    batch = op.Shape(input_ids, start=0, end=1)
    shape = op.Concat(op.Constant(value_ints=[0]), batch, heads_and_size, axis=0)
    return op.Expand(op.Constant(value_float=0.0), shape)


@script(DOMAIN, default_opset=op)
def token_positions(cur, num_beams):
    """Return the position `cur - 1` of the tokens that a step reads, `[N, 1]`."""
    return op.Expand(cur - op.Constant(value_ints=[1]), op.Concat(num_beams, op.Constant(value_ints=[1]), axis=0))


@script(DOMAIN, default_opset=op)
def beam_rows(sequences):
    """Return the sequences as rows `[N * B, L]`, in the row order of the decoder's logits."""
    by_beam = op.Transpose(sequences, perm=[1, 0, 2])
    rows = op.Shape(by_beam, start=2, end=3)
    return op.Reshape(by_beam, op.Concat(op.Constant(value_ints=[-1]), rows, axis=0))


@script(DOMAIN, default_opset=op)
def forbid_seen(log_probs, rows, cur):
    """Set the scores of all tokens that a sequence already contains to minus infinity, so that no token repeats."""
    seen = op.Slice(rows, op.Constant(value_ints=[0]), cur, op.Constant(value_ints=[1]))
    penalty = op.Expand(op.Constant(value_float=float("-inf")), op.Shape(seen))
    return op.ScatterElements(log_probs, seen, penalty, axis=1, reduction="add")


@script(DOMAIN, default_opset=op)
def forbid_repeats(log_probs, rows, cur, size):
    """Set the scores of tokens that would repeat an n-gram of `size` tokens to minus infinity; `size` is 2 or more.

    :param log_probs: `[N * B, V]`.
    :param rows: the sequences `[N * B, L]`. A window of `size - 1` tokens that equals the last `size - 1` tokens
        forbids the token after it. There is a window at every position before `cur`, so that no tensor is empty;
        windows that reach `cur` are ignored.
    """
    zero, one = op.Constant(value_ints=[0]), op.Constant(value_ints=[1])
    before = size - one
    step = op.Range(op.Constant(value_int=0), op.Squeeze(before), op.Constant(value_int=1))
    first = op.Range(op.Constant(value_int=0), op.Squeeze(cur), op.Constant(value_int=1))
    end = op.Shape(rows, start=1, end=2) - one
    last = op.Gather(rows, op.Max(cur - before + step, zero), axis=1)  # [N * B, size - 1]
    earlier = op.Gather(rows, op.Min(op.Unsqueeze(first, one) + step, end), axis=1)  # [N * B, cur, size - 1]
    differs = op.Not(op.Equal(earlier, op.Unsqueeze(last, one)))
    differences = op.ReduceMax(op.Cast(differs, to=INT32), op.Constant(value_ints=[-1]), keepdims=0)
    is_repeat = op.And(op.Not(op.Cast(differences, to=BOOL)), op.Less(first, cur - before))
    followers = op.Gather(rows, op.Min(first + before, end), axis=1)  # [N * B, cur]
    penalty = op.Where(is_repeat, op.Constant(value_float=float("-inf")), op.Constant(value_float=0.0))
    return op.ScatterElements(log_probs, followers, penalty, axis=1, reduction="add")


@script(DOMAIN, default_opset=op)
def forbid_end(log_probs, cur, min_length, eos_token):
    """Set the score of the end token to minus infinity while `cur` is below `min_length`."""
    vocabulary = op.Squeeze(op.Shape(log_probs, start=1, end=2))
    ids = op.Range(op.Constant(value_int=0), vocabulary, op.Constant(value_int=1))
    is_forbidden = op.And(op.Less(cur, min_length), op.Equal(ids, eos_token))
    return op.Where(is_forbidden, op.Constant(value_float=float("-inf")), log_probs)


@script(DOMAIN, default_opset=op)
def force(log_probs, cur, position, token):
    """Set the score of `token` to 0 and all others to minus infinity if `cur` equals `position`."""
    vocabulary = op.Squeeze(op.Shape(log_probs, start=1, end=2))
    ids = op.Range(op.Constant(value_int=0), vocabulary, op.Constant(value_int=1))
    nothing = op.Constant(value_float=float("-inf"))
    only = op.Where(op.Equal(ids, token), op.Constant(value_float=0.0), nothing)
    return op.Where(op.Equal(cur, position), only, log_probs)


@script(DOMAIN, default_opset=op)
def candidates(log_probs, scores, num_beams):
    """Return the best `K` continuations of each text: their scores, tokens and parent beams, each `[B, K]`.

    Of equal scores the lower beam comes first, then the lower token: the order of TopK.
    """
    candidate_count = num_beams * op.Constant(value_ints=[2])
    values_of, ids = op.TopK(log_probs, candidate_count)  # K of each beam suffice for the best K of a text
    batch = op.Shape(scores, start=0, end=1)
    by_beam = op.Concat(num_beams, batch, candidate_count, axis=0)
    flat = op.Concat(batch, op.Constant(value_ints=[-1]), axis=0)
    sums = op.Transpose(op.Reshape(values_of, by_beam), perm=[1, 0, 2]) + op.Unsqueeze(
        scores, op.Constant(value_ints=[2])
    )
    tokens = op.Transpose(op.Reshape(ids, by_beam), perm=[1, 0, 2])
    best, positions = op.TopK(op.Reshape(sums, flat), candidate_count)
    return best, op.GatherElements(op.Reshape(tokens, flat), positions, axis=1), op.Div(positions, candidate_count)


@script(DOMAIN, default_opset=op)
def extend(sequences, parents, tokens, cur, max_length):
    """Return the sequences of the candidates `[B, K, L]`: the parent beam's sequence with the new token at `cur`."""
    longer = op.GatherND(sequences, op.Unsqueeze(parents, op.Constant(value_ints=[2])), batch_dims=1)
    positions = op.Range(op.Constant(value_int=0), op.Squeeze(max_length), op.Constant(value_int=1))
    return op.Where(op.Equal(positions, cur), op.Unsqueeze(tokens, op.Constant(value_ints=[2])), longer)


@script(DOMAIN, default_opset=op)
def ends(tokens, cur, max_length, eos_token):
    """Return which candidates end, bool `[B, K]`: with the end token, or because they reach `max_length`."""
    is_full = op.GreaterOrEqual(cur + op.Constant(value_ints=[1]), max_length)
    return op.Or(op.Equal(tokens, eos_token), is_full)


@script(DOMAIN, default_opset=op)
def next_beams(sums, is_end, sequences, parents, tokens, num_beams):
    """Return the beams of the next step: the best `N` candidates that do not end.

    :return: scores `[B, N]`, sequences `[B, N, L]`, parent beams `[B, N]` and the tokens to read `[N, B]`.
    """
    going = sums + op.Cast(is_end, to=FLOAT) * op.Constant(value_float=-1e9)
    scores, order = op.TopK(going, num_beams)
    kept = op.GatherND(sequences, op.Unsqueeze(order, op.Constant(value_ints=[2])), batch_dims=1)
    tokens_read = op.Transpose(op.GatherElements(tokens, order, axis=1), perm=[1, 0])
    return scores, kept, op.GatherElements(parents, order, axis=1), tokens_read


@script(DOMAIN, default_opset=op)
def penalized(sums, length, length_penalty):
    """Return `sums / length ** length_penalty`; the reference computes the power in float64."""
    power = op.Pow(op.Cast(length, to=DOUBLE), op.Cast(length_penalty, to=DOUBLE))
    return sums / op.Cast(power, to=FLOAT)


@script(DOMAIN, default_opset=op)
def best_score_length(cur, max_length, length_penalty):
    """Return the length at which an unfinished beam can reach its best score.

    This is `max_length - 1` if the length penalty favors long sequences, else the current length.
    """
    is_rewarded = op.Greater(length_penalty, op.Constant(value_floats=[0.0]))
    return op.Where(is_rewarded, max_length - op.Constant(value_ints=[1]), cur)


@script(DOMAIN, default_opset=op)
def finish(scored, is_end, sequences, done_scores, done_sequences, is_done, is_open, is_early, num_beams):
    """Add the candidates that end to the finished sequences of each text, and keep the best `N`.

    Only the first `N` candidates are considered. A text gets no new sequence if its search is over, or if `is_early`
    is true and it already has `N` finished sequences.

    :param scored: the candidates' scores after the length penalty, `[B, K]`.
    :return: scores `[B, N]`, sequences `[B, N, L]` and flags `[B, N]` of the finished sequences.
    """
    low = op.Constant(value_float=-1e9)
    one = op.Constant(value_ints=[1])
    rank = op.Range(op.Constant(value_int=0), op.Squeeze(op.Shape(scored, start=1, end=2)), op.Constant(value_int=1))
    is_new = op.And(is_end, op.Less(rank, num_beams))
    is_full = op.Cast(op.ReduceMin(op.Cast(is_done, to=INT32), one), to=BOOL)  # [B, 1]
    is_closed = op.Or(op.And(is_full, is_early), op.Not(is_open))
    offered = scored + op.Cast(is_closed, to=FLOAT) * low + op.Cast(op.Not(is_new), to=FLOAT) * low
    kept_scores, order = op.TopK(op.Concat(done_scores, offered, axis=1), num_beams)
    everything = op.Concat(done_sequences, sequences, axis=1)
    kept = op.GatherND(everything, op.Unsqueeze(order, op.Constant(value_ints=[2])), batch_dims=1)
    flags = op.GatherElements(op.Cast(op.Concat(is_done, is_new, axis=1), to=INT32), order, axis=1)
    return kept_scores, kept, op.Cast(flags, to=BOOL)


@script(DOMAIN, default_opset=op)
def improvable(best, done_scores, is_done, is_open):
    """Return the texts whose search continues, bool `[B, 1]`.

    The search of a text continues while an unfinished beam can still reach a higher score than the worst finished
    sequence.

    :param best: the highest score that each unfinished beam can still reach, `[B, N]`; the first beam has the highest.
    """
    one = op.Constant(value_ints=[1])
    first = op.Slice(best, op.Constant(value_ints=[0]), one, one)
    worst = op.Where(is_done, op.ReduceMin(done_scores, one), op.Constant(value_float=-1e9))
    is_better = op.Cast(op.ReduceMax(op.Cast(op.Greater(first, worst), to=INT32), one), to=BOOL)
    return op.And(is_open, is_better)


@script(DOMAIN, default_opset=op)
def unfinished(is_open, is_done, is_end, is_early):
    """Return whether the loop runs another step, bool `[]`."""
    any_open = op.ReduceMax(op.Cast(is_open, to=INT32), keepdims=0)
    all_done = op.ReduceMin(op.Cast(is_done, to=INT32), keepdims=0)
    all_end = op.ReduceMin(op.Cast(is_end, to=INT32), keepdims=0)
    is_filled = op.And(op.Cast(all_done, to=BOOL), op.Squeeze(is_early))
    return op.And(op.And(op.Cast(any_open, to=BOOL), op.Not(is_filled)), op.Not(op.Cast(all_end, to=BOOL)))


@script(DOMAIN, default_opset=op)
def inherit(mask, parents):
    """Return the attention masks of the next step's beams, `[B, N, T]`: each beam inherits its parent beam's mask."""
    return op.GatherND(mask, op.Unsqueeze(parents, op.Constant(value_ints=[2])), batch_dims=1)


@script(DOMAIN, default_opset=op)
def live_slots(past_mask):
    """Return the indices `[B, T']` of the cache slots to keep: first all slots that some beam of the text sees.

    `T'` is the largest number of such slots of a text; other texts also keep slots that no beam sees.
    """
    one = op.Constant(value_ints=[1])
    seen = op.ReduceMax(past_mask, one, keepdims=0)  # [B, T]
    live = op.Cast(op.Greater(seen, op.Constant(value_float=-1.0)), to=INT64)
    slot_count = op.ReduceMax(op.ReduceSum(live, one, keepdims=0), keepdims=1)
    _, order = op.TopK(seen, slot_count)
    return order


@script(DOMAIN, default_opset=op)
def compact_mask(past_mask, order):
    """Return the attention mask of only the cache slots in `order`, `[B, N, T']`."""
    shape = op.Concat(op.Shape(past_mask, start=0, end=2), op.Shape(order, start=1, end=2), axis=0)
    return op.GatherElements(past_mask, op.Expand(op.Unsqueeze(order, op.Constant(value_ints=[1])), shape), axis=2)


@script(DOMAIN, default_opset=op)
def compact_cache(cache, order):
    """Return a cache with only the slots in `order` `[B, T']` of the cache `[T, B, heads, head_size]`."""
    batch = op.Shape(order, start=0, end=1)
    texts = op.Range(op.Constant(value_int=0), op.Squeeze(batch), op.Constant(value_int=1))
    rows = op.Transpose(order, perm=[1, 0]) * batch + texts  # [T', B]
    rest = op.Shape(cache, start=2, end=4)
    flat = op.Reshape(cache, op.Concat(op.Constant(value_ints=[-1]), rest, axis=0))
    return op.Gather(flat, rows, axis=0)


@script(DOMAIN, default_opset=op)
def best_finished(sequences, scores, cur):
    """Return the best finished sequence of every text `[B, cur]`, and its score `[B]`."""
    zero = op.Constant(value_int=0)
    rows = op.Gather(sequences, zero, axis=1)
    one = op.Constant(value_ints=[1])
    return op.Slice(rows, op.Constant(value_ints=[0]), cur, one), op.Gather(scores, zero, axis=1)

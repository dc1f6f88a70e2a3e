"""Group texts of similar length into batches within a token budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

# Maximum number of padded tokens of one run. Its activations fit the second level cache; larger runs were slower on
# every CPU measured.
DEFAULT_TOKEN_BUDGET = 512
# Maximum of rows x length^2 of one run. It bounds the attention scores to 96 MB for 12 heads in float32. The batches of
# the default budgets are within it, such as 2 texts of 1,024 tokens; it matters for larger budgets.
MAX_SCORES = 1 << 21


def plan_batches(lengths: Sequence[int], token_budget: int, max_texts: int | None = None) -> Iterator[list[int]]:
    """Yield batches of indices into `lengths`, the longest texts first; every index occurs once.

    Rust groups texts into the same batches, so that both languages compute the same bits. The padded size of a batch
    (the number of its texts times the length of the longest) is at most `token_budget`, and this size times the length
    is at most `MAX_SCORES`, except that a single longer text is a batch by itself.

    :param lengths: the number of tokens of each text.
    :param max_texts: maximum number of texts in a batch, at least 1; None means no limit.
    """
    indices = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    start = 0
    while start < len(indices):
        longest = max(1, lengths[indices[start]])
        texts = max(1, min(token_budget // longest, MAX_SCORES // longest**2))
        batch = indices[start : start + (texts if max_texts is None else min(texts, max_texts))]
        start += len(batch)
        yield batch


def plan_even_batches(lengths: Sequence[int], token_budget: int, max_texts: int, workers: int) -> list[list[int]]:
    """Return batches as `plan_batches` does; if it takes several, they have about the same number of texts.

    Their number is a multiple of `workers` where the lengths allow it, so that no worker is idle at the end. Texts that
    fit into one batch are not divided: all threads together read the weights once for each step of its search.
    """
    batches = list(plan_batches(lengths, token_budget, max_texts))
    if len(batches) <= 1 or workers == 1:
        return batches
    runs = -(-len(batches) // workers) * workers
    return list(plan_batches(lengths, token_budget, -(-len(lengths) // runs)))

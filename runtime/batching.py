"""Which texts run together: neighbours in length, up to a budget of padded tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

# Activations of a run of this size stay in the second level cache; larger runs were slower on every CPU measured.
DEFAULT_TOKEN_BUDGET = 512


def plan_batches(lengths: Sequence[int], token_budget: int, most: int | None = None) -> Iterator[list[int]]:
    """Yield batches of indices into `lengths`, shortest texts first, each index once.

    A batch's padded size, its number of texts times its longest one, stays within `token_budget`; a single text
    longer than that runs alone.

    :param most: texts that a batch may have, at least 1; None for as many as the budget takes.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if batch and (len(batch) == most or lengths[index] * (len(batch) + 1) > token_budget):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch

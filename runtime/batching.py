"""Which texts run together, neighbours in length, up to a budget of padded tokens; and runs side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")
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


def in_order(work: Callable[[Job], Outcome], jobs: Iterable[Job], threads: int) -> Iterator[Outcome]:
    """What `work` makes of each job, in the order of the jobs, which the caller's thread makes one by one meanwhile.

    :param threads: jobs that are worked on at the same time, at most.
    """
    rest = iter(jobs)
    first = list(islice(rest, 2))
    if threads == 1 or len(first) < 2:  # a thread of its own would only cost
        for job in chain(first, rest):
            yield work(job)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Outcome]] = deque()
        for job in chain(first, rest):
            waiting.append(pool.submit(work, job))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

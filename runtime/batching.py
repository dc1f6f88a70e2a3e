"""Group texts of similar length into batches within a token budget, and run jobs in parallel threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")
# Maximum number of padded tokens of one run. Its activations fit the second level cache; larger runs were slower on
# every CPU measured.
DEFAULT_TOKEN_BUDGET = 512


def plan_batches(lengths: Sequence[int], token_budget: int, max_texts: int | None = None) -> Iterator[list[int]]:
    """Yield batches of indices into `lengths`, the longest texts first; every index occurs once.

    Rust groups texts into the same batches, so that both languages compute the same bits. The padded size of a batch
    (the number of its texts times the length of the longest) is at most `token_budget`, except that a single longer
    text is a batch by itself.

    :param lengths: the number of tokens of each text.
    :param max_texts: maximum number of texts in a batch, at least 1; None means no limit.
    """
    indices = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    while indices:
        texts = max(1, token_budget // max(1, lengths[indices[0]]))
        if max_texts is not None:
            texts = min(texts, max_texts)
        batch, indices = indices[:texts], indices[texts:]
        yield batch


def map_in_order(work: Callable[[Job], Outcome], jobs: Iterable[Job], threads: int) -> Iterator[Outcome]:
    """Yield `work(job)` for each job, in the order of the jobs, computed by worker threads.

    `jobs` is consumed in the caller's thread, only a few jobs ahead of the results.

    :param threads: maximum number of jobs worked on at the same time.
    """
    rest = iter(jobs)
    first = list(islice(rest, 2))
    if threads == 1 or len(first) < 2:  # without worker threads, which would only add overhead
        for job in chain(first, rest):
            yield work(job)
        return
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[Future[Outcome]] = deque()
        for job in chain(first, rest):
            pending.append(pool.submit(work, job))
            if len(pending) > threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

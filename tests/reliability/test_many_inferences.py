"""10,000 concurrent inferences on 16 threads have the vectors of serial calls."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from onnx_ml_bridge import BridgeOptions, Embedder, Model

TINY = Path(__file__).parents[1] / "golden" / "valid" / "tiny-embedding"
THREADS, CALLS = 16, 10_000
TEXTS = [f"the cat {'sleeps in a big red house ' * (number % 7)}{number % 23}" for number in range(161)]


@pytest.mark.parametrize(("merge", "limit"), [(False, 0.0), (True, 1e-6)])
@pytest.mark.parametrize("workers", [1, 2])
def test_10000_inferences_on_16_threads_equal_those_of_one(merge, limit, workers):
    options = BridgeOptions(threads=1)
    alone = Embedder.open(Model(TINY, variant="int8"), options)
    expected = np.stack([alone.embed([text]).vectors[0] for text in TEXTS])
    embedder = Embedder.open(Model(TINY, variant="int8", merge=merge, workers=workers), options)
    barrier = threading.Barrier(THREADS)

    def work(first: int) -> float:
        barrier.wait()
        numbers = range(first, CALLS, THREADS)
        found = [embedder.embed([TEXTS[number % len(TEXTS)]]).vectors[0] for number in numbers]
        return float(np.abs(np.stack(found) - expected[[number % len(TEXTS) for number in numbers]]).max())

    with ThreadPoolExecutor(THREADS) as pool:
        assert max(pool.map(work, range(THREADS))) <= limit
    status = embedder.status()
    assert (status.state, status.waiting, status.running) == ("ready", 0, 0)

"""The process under load: `python -m benchmarks.soak.load CONFIG` calls models from several threads.

CONFIG is JSON: `bridge`, the path of a bridge.toml; `words`, the path of a text whose words the calls use; `rests`, the
beginning and the end of each time without calls, in seconds from the first call; `callers`, the number of threads;
`seed`. After the warm-up all models but the first are reloaded at random; before each rest they all are, and the same
calls follow. The process ends with the last rest, and prints the numbers of calls by outcome as JSON. The example
`soak` of the Rust crate does the same.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path

from onnx_ml_bridge import (
    CancelToken,
    EmbedOptions,
    MlBridge,
    ModelInfo,
    OnnxMlBridgeError,
    RecognizeOptions,
    RerankOptions,
    SummarizeOptions,
    Task,
    open_bridge,
)

# A model is reloaded after every interval of this length
_RELOAD_SECONDS = 30.0
# A text has up to this many words, about 512 tokens
_MAX_WORDS = 380
_MAX_BATCH = 64
# Maximum number of words of a batch, so that no call takes minutes
_MAX_CALL_WORDS = 4000


class Load:
    """Calls of the models of a bridge; the numbers of calls by task and outcome are in `outcomes`."""

    def __init__(self, bridge: MlBridge, words: list[str], callers: int, seed: int) -> None:
        self.bridge = bridge
        self.outcomes: Counter[str] = Counter()
        self._models = bridge.models()
        # The first model stays, so that the memory which a session never frees is seen as well
        self._replaced = self._models[1:]
        self._words = words
        self._seed = seed
        self._sources = [random.Random(seed + number) for number in range(callers)]
        self._reloads = random.Random(seed)
        self._lock = threading.Lock()

    def warm_up(self) -> None:
        """Make the largest calls from all callers, and reload every model beside them."""
        callers = [partial(self._largest_calls, source) for source in self._sources]
        _together([*callers, partial(self._reload, self._models)])

    def call_until(self, end: float) -> None:
        """Make random calls from all callers, and reload models beside them, until `time.monotonic()` is `end`."""
        callers = [partial(self._random_calls, source, end) for source in self._sources]
        _together([*callers, partial(self._random_reloads, end)])

    def settle(self) -> None:
        """Bring the process into the same state each time: what it keeps depends on the last reloads and calls."""
        self._reload(self._replaced)
        self._largest_calls(random.Random(self._seed))

    def _largest_calls(self, source: random.Random) -> None:
        for info in source.sample(self._models, len(self._models)):
            for words in (_MAX_CALL_WORDS // _MAX_BATCH, _MAX_WORDS):
                texts = self._texts(source, words, _MAX_CALL_WORDS // words)
                self._count(info.task, partial(self._call, info, texts, CancelToken(), None))

    def _random_calls(self, source: random.Random, end: float) -> None:
        while time.monotonic() < end:
            info = source.choice(self._models)
            self._count(info.task, partial(self._random_call, info, source))

    def _random_reloads(self, end: float) -> None:
        while time.monotonic() + _RELOAD_SECONDS < end:
            time.sleep(_RELOAD_SECONDS)
            self._reload([self._reloads.choice(self._replaced)])

    def _reload(self, models: Sequence[ModelInfo]) -> None:
        for info in models:
            self._count("reload", partial(self.bridge.reload, info.name))

    def _count(self, what: str, call: Callable[[], object]) -> None:
        """Make a call and count its outcome."""
        try:
            call()
            outcome = "ok"
        except OnnxMlBridgeError as error:
            outcome = error.code
        with self._lock:
            self.outcomes[f"{what} {outcome}"] += 1

    def _random_call(self, info: ModelInfo, source: random.Random) -> None:
        token = CancelToken()
        timer = threading.Timer(source.uniform(0, 0.3), token.cancel) if source.random() < 0.1 else None
        if timer is not None:
            timer.start()
        try:
            self._call(info, self._random_texts(source), token, 0.2 if source.random() < 0.1 else None)
        finally:
            if timer is not None:
                timer.cancel()

    def _call(self, info: ModelInfo, texts: Sequence[str], cancel: CancelToken, timeout: float | None) -> None:
        if info.task == Task.EMBEDDING:
            self.bridge.embedder(info.name).embed(texts, EmbedOptions(timeout=timeout, cancel=cancel))
        elif info.task == Task.NER:
            self.bridge.recognizer(info.name).recognize(texts, RecognizeOptions(timeout=timeout, cancel=cancel))
        elif info.task == Task.RERANK:
            options = RerankOptions(timeout=timeout, cancel=cancel)
            self.bridge.reranker(info.name).rerank(texts[0][:200] or "query", texts, options)
        else:
            few = SummarizeOptions(num_beams=2, min_length=0, max_length=16, timeout=timeout, cancel=cancel)
            self.bridge.summarizer(info.name).summarize([[text or "text"] for text in texts[:4]], few)

    def _random_texts(self, source: random.Random) -> Sequence[str]:
        """Return texts whose number and length are log-uniform, so that most calls are small."""
        words = int(_MAX_WORDS ** source.random())
        count = min(int(_MAX_BATCH ** source.random()), max(_MAX_CALL_WORDS // words, 1))
        return self._texts(source, words, count)

    def _texts(self, source: random.Random, words: int, count: int) -> Sequence[str]:
        starts = [source.randrange(len(self._words) - words) for _ in range(count)]
        return [" ".join(self._words[start : start + words]) for start in starts]


def _together(calls: Sequence[Callable[[], None]]) -> None:
    """Make calls, each in a thread of its own, and wait for all."""
    with ThreadPoolExecutor(len(calls)) as pool:
        running = [pool.submit(call) for call in calls]
        # The main thread executes Python code now and then, as that of a server does
        while wait(running, timeout=0.1).not_done:
            continue
    for each in running:
        each.result()


def main() -> None:
    """Run the load and print its outcomes."""
    config = json.loads(sys.argv[1])
    words = Path(config["words"]).read_text(encoding="utf-8").split()
    with open_bridge(config["bridge"]) as bridge:
        start = time.monotonic()
        load = Load(bridge, words, config["callers"], config["seed"])
        load.warm_up()
        for first, last in config["rests"]:
            load.call_until(start + first)
            load.settle()
            time.sleep(max(start + last - time.monotonic(), 0))
    print(json.dumps(load.outcomes))


if __name__ == "__main__":
    main()

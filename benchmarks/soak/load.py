"""The process under load: `python -m benchmarks.soak.load CONFIG` calls models from several threads.

CONFIG is JSON: `bridge`, the path of a bridge.toml; `words`, the path of a text whose words the calls use; `rests`, the
beginning and the end of each time without calls, in seconds from the first call; `callers`, the number of threads;
`seed`. The process ends with the last rest, and prints the numbers of calls by outcome as JSON. The example `soak` of
the Rust crate does the same.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
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
    """Random calls of the models of a bridge; the numbers of calls by task and outcome are in `outcomes`."""

    def __init__(self, bridge: MlBridge, words: list[str], rests: Sequence[tuple[float, float]]) -> None:
        self.bridge = bridge
        start = time.monotonic()
        self._rests = [(start + first, start + last) for first, last in rests]
        self.outcomes: Counter[str] = Counter()
        self._models = bridge.models()
        self._words = words
        self._lock = threading.Lock()

    def call(self, seed: int) -> None:
        """Make the largest calls, then random ones, one after the other, until the last rest."""
        source = random.Random(seed)
        for info in source.sample(self._models, len(self._models)):
            for words in (_MAX_WORDS, _MAX_CALL_WORDS // _MAX_BATCH):
                texts = self._texts(source, words, _MAX_CALL_WORDS // words)
                self._count(info.task, partial(self._call, info, texts, CancelToken(), None))
        while self._rest():
            info = source.choice(self._models)
            self._count(info.task, partial(self._random_call, info, source))

    def reload(self, seed: int) -> None:
        """Reload every model, then random ones, one after the other, until the last rest."""
        source = random.Random(seed)
        for info in self._models:
            self._count("reload", partial(self.bridge.reload, info.name))
        while self._rest():
            time.sleep(_RELOAD_SECONDS)
            if not self._rest():
                return
            self._count("reload", partial(self.bridge.reload, source.choice(self._models).name))

    def _count(self, what: str, call: Callable[[], object]) -> None:
        """Make a call and count its outcome."""
        try:
            call()
            outcome = "ok"
        except OnnxMlBridgeError as error:
            outcome = error.code
        with self._lock:
            self.outcomes[f"{what} {outcome}"] += 1

    def _rest(self) -> bool:
        """Wait for the end of a rest, if there is one now; return false after the last."""
        for first, last in self._rests:
            now = time.monotonic()
            if first <= now < last:
                time.sleep(last - now)
        return time.monotonic() < self._rests[-1][1]

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


def main() -> None:
    """Run the load and print its outcomes."""
    config = json.loads(sys.argv[1])
    with open_bridge(config["bridge"]) as bridge:
        load = Load(bridge, Path(config["words"]).read_text(encoding="utf-8").split(), config["rests"])
        threads = [
            threading.Thread(target=load.call, args=(config["seed"] + number,)) for number in range(config["callers"])
        ]
        threads.append(threading.Thread(target=load.reload, args=(config["seed"],)))
        for thread in threads:
            thread.start()
        # The main thread executes Python code now and then, as that of a server does
        for thread in threads:
            while thread.is_alive():
                thread.join(0.1)
    print(json.dumps(load.outcomes))


if __name__ == "__main__":
    main()

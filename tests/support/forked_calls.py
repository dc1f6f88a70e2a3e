"""Call a model in child processes that are forked while other threads of the parent use it: `forked_calls.py DIR`.

Prints the exit statuses of the children: 0 for the same answer as in the parent, -9 for a child that hung.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

from onnx_ml_bridge import BridgeOptions
from onnx_ml_bridge.runtime.loading import open_artifact, runtime_of

CHILDREN, THREADS, LIMIT = 4, 3, 60
TEXT = "Ada met Kofi in Paris on Tuesday. " * 8


def caller(root: str) -> Callable[[], str]:
    """Return a function that runs the model of an artifact and returns its answer."""
    opened = open_artifact(root)
    model = runtime_of(opened.artifact.family).open_model(opened, BridgeOptions(threads=2))
    texts = [f"{TEXT}{number}" for number in range(4)]
    if opened.artifact.family.task == "sentence-embedding":
        return lambda: repr(model.embed(texts).vectors.tolist())
    if opened.artifact.family.task == "rerank":
        return lambda: repr(model.rerank("Who met Kofi?", texts))
    if opened.artifact.family.task == "summarization":
        return lambda: repr(model.summarize([[text] for text in texts]))
    return lambda: repr(model.recognize(texts))


def status_of_child(call: Callable[[], str], expected: str) -> int:
    """Fork, compare the answer in the child with the expected one, and return the child's exit status."""
    child = os.fork()
    if not child:
        try:
            os._exit(0 if call() == expected else 3)
        finally:
            os._exit(4)
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    """Fork children while threads use the model."""
    call = caller(sys.argv[1])
    expected, is_done = call(), threading.Event()

    def use() -> None:
        while not is_done.is_set():
            call()

    threads = [threading.Thread(target=use, daemon=True) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    statuses = [status_of_child(call, expected) for _ in range(CHILDREN)]
    is_done.set()
    for thread in threads:
        thread.join()
    print(json.dumps({"children": statuses, "parent": call() == expected}))


if __name__ == "__main__":
    main()

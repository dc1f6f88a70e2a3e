"""The child process of `verify`: limits on its time, and its failures."""

import sys
import time

import pytest
from onnx_ml_bridge.artifacts.errors import ArtifactError, StoppedError
from onnx_ml_bridge.runtime.supervised import child_events

START = "import json, sys, time\ndef say(**event): print(json.dumps(event), flush=True)\n"


def events(code, silence=20.0, timeout=None):
    return list(child_events([sys.executable, "-c", START + code], "the test", silence=silence, timeout=timeout))


def test_events_are_yielded_as_they_are_printed():
    command = [sys.executable, "-c", START + "say(done=1); sys.stdin.read(); say(done=2); time.sleep(60)"]
    started = time.monotonic()
    events = child_events(command, "the test", silence=50)
    assert [next(events), next(events)] == [{"done": 1}, {"done": 2}]
    events.close()
    assert time.monotonic() - started < 30


def test_a_child_may_run_longer_than_the_limit_on_its_silence():
    # The limit applies to the start of the child too, and a shell starts faster than Python
    script = "for done in 1 2 3 4 5 6 7 8 9 10 11 12; do echo {}; sleep 0.5; done"
    started = time.monotonic()
    assert list(child_events(["/bin/sh", "-c", script], "the test", silence=5)) == [{}] * 12
    assert time.monotonic() - started > 5


@pytest.mark.parametrize("code", ["time.sleep(60)", "say(done=1); time.sleep(60)", "say()\nwhile True: pass"])
def test_a_silent_child_is_stopped(code):
    with pytest.raises(StoppedError, match=r"the test made no progress for 1\.5 seconds") as stopped:
        events(code, silence=1.5)
    assert stopped.value.code == "timeout"


def test_a_child_that_exceeds_its_time_is_stopped():
    with pytest.raises(StoppedError, match="the test exceeded its time limit") as stopped:
        events("while True: say(); time.sleep(0.1)", timeout=1.5)
    assert stopped.value.code == "timeout"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("say(); sys.exit('broken')", "exit status 1: broken"),
        ("say(); sys.exit(3)", "exit status 3: no message"),
        ("import os; os.abort()", "exit status -6"),
        ("print('hello')", "invalid line: b'hello"),
        ("print(5)", "invalid line: b'5"),
    ],
)
def test_a_child_that_fails_refuses_the_artifact(code, said):
    with pytest.raises(ArtifactError, match=said) as refused:
        events(code)
    assert refused.value.code == "graph"


def test_much_output_does_not_block_the_child():
    assert events("sys.stderr.write('x' * 10**6); [say(text='y' * 1000) for _ in range(1000)]")[-1] == {
        "text": "y" * 1000
    }

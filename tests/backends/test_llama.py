"""GGUF files in llama.cpp's server: its own tokens, its life, its limits, and files that are wrong on purpose."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from llama_server import INJECTIONS, is_alive, wait_for
from onnx_ml_bridge import (
    ApiModel,
    ApiServer,
    ArtifactError,
    BackendError,
    CancelToken,
    DependencyError,
    Gguf,
    InferenceError,
    InputError,
    LlamaCppMlBridge,
    OnnxMlBridgeError,
    OpenAiMlBridge,
    RecognizeOptions,
    StoppedError,
    SummarizeOptions,
)

pytest.importorskip("xllamacpp")
PROMPT = "Write: {text}"
CUT = "\N{REPLACEMENT CHARACTER}"
# llama.cpp's server behind a command that does not end with its standard input
STUBBORN = """
import sys, time, types
forever = types.SimpleNamespace(read=lambda size: time.sleep(3600) or b"x")
sys.stdin = types.SimpleNamespace(buffer=forever)
from onnx_ml_bridge.backends.llama_child import main
main(sys.argv[1:])
"""


def opened(file: Path, *, tokens: int = 40, context: int = 2048, **options: Any) -> LlamaCppMlBridge:
    backend = {name: options.pop(name) for name in ("command", "start_timeout", "read_timeout") if name in options}
    model = Gguf(file, context=context, threads=1, max_output_tokens=tokens, **options)
    return LlamaCppMlBridge.open(summarization=model, ner=model, **backend)


def child_of(bridge: LlamaCppMlBridge) -> int:
    """The process of the server, or of what supervises it."""
    return bridge.summarizer().backend.host._server.child._process.pid


@pytest.mark.parametrize("kind", ["phi3", "mistral"])
def test_a_summary_has_the_tokens_of_the_server(kind, llama_file, mistral_file):
    from llama_server import llama_server

    file = llama_file if kind == "phi3" else mistral_file
    with llama_server(file, "--ctx-size", "2048") as server, opened(file) as bridge:
        for text in ["The lease was signed.", "one two three", *INJECTIONS]:
            (ours,) = bridge.summarizer().summarize([[text]], SummarizeOptions(prompt=PROMPT))
            prompt = server.prompt_of(f"Write: {text}")
            generated = server.ask(
                "/completion",
                {
                    "prompt": prompt,
                    "temperature": 0,
                    "seed": 0,
                    "n_predict": 40,
                    "cache_prompt": False,
                    "return_tokens": True,
                },
            )
            # A stream omits a character of which the limit of tokens left a part
            assert ours.text.rstrip(CUT) == generated["content"].strip().rstrip(CUT)
            assert ours.tokens == len(generated["tokens"]) and ours.usage.prompt_tokens == generated["tokens_evaluated"]
            assert bridge.summarizer().summarize([[text]], SummarizeOptions(prompt=PROMPT)) == [ours]


@pytest.mark.parametrize("text", INJECTIONS)
def test_a_text_does_not_change_the_structure_of_a_request(text, chat_server):
    from faulty_server import faulty_server

    with faulty_server(["--upstream", chat_server.address.removeprefix("http://")]) as proxy:
        chat = ApiModel("m", temperature=0, max_output_tokens=200, context=8000)
        bridge = OpenAiMlBridge.open(summarization=chat, ner=chat, server=ApiServer(base_url=proxy.url))
        proxy.script()
        bridge.summarizer().summarize([[text]], SummarizeOptions(prompt=PROMPT, max_length=5))
        bridge.recognizer().recognize([text], RecognizeOptions(labels=["PERSON"]))
        bodies = [request["body"] for request in proxy.requests()]
    assert [set(message) for body in bodies for message in body["messages"]] == [{"role", "content"}] * 2
    assert [message["role"] for body in bodies for message in body["messages"]] == ["user"] * 2
    assert bodies[0]["messages"][0]["content"] == f"Write: {text}" and text in bodies[1]["messages"][0]["content"]
    assert all(body["stream"] is True for body in bodies) and "response_format" in bodies[1]


def test_a_long_input_is_read_in_chunks_of_tokens(llama_file, chat_server):
    messages = [f"Message {number} says that the lease was signed by the tenants." for number in range(60)]
    with opened(llama_file, context=512, tokens=30) as bridge:
        parts: list[int] = []
        options = SummarizeOptions(prompt=PROMPT, progress=lambda done, total: parts.append(total))
        (summary,) = bridge.summarizer().summarize([messages], options)
        assert len(set(parts)) >= 2 and parts[-1] == 1, "several chunks, then their summaries"
        size = len(chat_server.ask("/tokenize", {"content": "\n".join(messages)})["tokens"])
        assert summary.usage.prompt_tokens > size and summary.usage.completion_tokens <= 30 * (len(parts) + 1)
        with pytest.raises(InputError) as refused:
            bridge.recognizer().recognize(["word " * 600])
        assert refused.value.code == "context_too_long"
        (again,) = bridge.summarizer().summarize([messages], options)
        assert again == summary


def test_a_file_that_reads_less_than_the_context_is_an_error_of_the_text(llama_file):
    """The error of llama.cpp itself, for a context that the bridge believes to be larger than it is."""
    with opened(llama_file, context=256, tokens=20) as bridge:
        bridge.summarizer().backend.count = lambda content, watch: 1
        with pytest.raises(InputError) as refused:
            bridge.summarizer().summarize([["word " * 400]], SummarizeOptions(prompt=PROMPT))
    assert (refused.value.code, refused.value.index) == ("context_too_long", 0)


def test_embeddings_of_a_file_say_their_tokens(minilm_file):
    with LlamaCppMlBridge.open(embedding=Gguf(minilm_file, dimensions=384, threads=1, space="minilm")) as bridge:
        answer = bridge.embedder().embed(["one two", "three"])
        assert answer.vectors.shape == (2, 384) and answer.usage.prompt_tokens == 4 + 3
        with pytest.raises(InputError) as refused:
            bridge.embedder().embed(["good", "word " * 600])
        assert (refused.value.code, refused.value.index) == ("context_too_long", 1)
        (info,) = bridge.models()
        assert (info.name, info.space, info.location) == ("minilm@384", "minilm", "machine")


def test_the_server_starts_with_the_first_call_and_ends_with_the_bridge(llama_file):
    bridge = opened(llama_file)
    assert [each.state for each in bridge.health()] == ["unloaded"] * 2
    bridge.warm_up()
    pid = child_of(bridge)
    assert [each.state for each in bridge.health()] == ["ready"] * 2 and is_alive(pid)
    assert bridge.recognizer().backend.host is bridge.summarizer().backend.host, "equal files share a server"
    bridge.summarizer().unload()
    assert is_alive(pid), "the other model uses it"
    bridge.recognizer().unload()
    wait_for(lambda: not is_alive(pid))
    assert bridge.summarize(["one"]) and child_of(bridge) != pid, "the next call starts another one"
    last = child_of(bridge)
    bridge.close()
    assert not is_alive(last)


def test_the_memory_is_that_of_the_server(llama_file):
    """Also of one under another process; it is measured when the server has started."""
    sizes = []
    for command in (None, [sys.executable, "-c", STUBBORN]):
        with opened(llama_file, command=command) as bridge:
            assert [each.resident_bytes for each in bridge.status()] == [0, 0]
            bridge.warm_up()
            sizes += [each.resident_bytes for each in bridge.status()]
            assert {each.device for each in bridge.models()} == {"cpu"}
    assert min(sizes) > 20 << 20 and max(sizes) < 1.5 * min(sizes), sizes


def test_a_server_that_dies_is_started_again(llama_file):
    with opened(llama_file) as bridge:
        text = bridge.summarize(["one"])
        pid = child_of(bridge)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not is_alive(pid))
        assert [each.error for each in bridge.health()] == ["upstream"] * 2
        assert bridge.summarize(["one"]) == text and child_of(bridge) != pid


def test_a_death_during_a_call_is_an_attempt(llama_file):
    shown: list[str] = []

    def kill(index: int, part: str) -> None:
        if not shown:
            os.kill(child_of(bridge), signal.SIGKILL)
        shown.append(part)

    with opened(llama_file, tokens=1500) as bridge:
        with pytest.raises(BackendError) as failed:  # a part was shown, so it is not asked for again
            bridge.summarizer().summarize([["one"]], SummarizeOptions(on_token=kill, prompt=PROMPT))
        assert failed.value.code == "upstream" and shown
        assert bridge.summarize(["one"])


@pytest.mark.parametrize("command", [None, [sys.executable, "-c", STUBBORN]], ids=["own child", "another command"])
def test_the_server_ends_with_its_parent(llama_file, command):
    code = (
        "import sys, time\nfrom onnx_ml_bridge import Gguf, LlamaCppMlBridge\n"
        "model = Gguf(sys.argv[1], context=512, threads=1)\n"
        "bridge = LlamaCppMlBridge.open(summarization=model, command=eval(sys.argv[2]))\n"
        "bridge.warm_up()\nserver = bridge.summarizer().backend.host._server\n"
        "print(server.child._process.pid, flush=True)\ntime.sleep(600)\n"
    )
    arguments = [sys.executable, "-c", code, str(llama_file), repr(command)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        children = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
        assert len(children) == (1 if command is None else 2) and all(map(is_alive, children))
        parent.kill()
    wait_for(lambda: not any(map(is_alive, children)))


def test_a_cancelled_call_stops_the_server(chat_server):
    """Told by the slot of the server itself, which is free while the generation still has a next token."""
    chat = ApiModel("m", max_output_tokens=6000, context=8000)
    bridge = OpenAiMlBridge.open(summarization=chat, server=ApiServer(base_url=chat_server.url))
    for _ in range(5):
        token = CancelToken()
        stop = lambda *_, token=token: token.cancel()  # noqa: E731
        options = SummarizeOptions(prompt=PROMPT, cancel=token, temperature=0, on_token=stop)
        with pytest.raises(StoppedError):
            # A text after which this model generates all 6,000 tokens
            bridge.summarizer().summarize([["three four"]], options)
        wait_for(lambda: not chat_server.is_processing(), 60)
        (slot,) = chat_server.ask("/slots")
        assert slot["next_token"][0]["has_next_token"]


def test_a_hash_is_checked_at_open_and_at_every_start(tmp_path, llama_file):
    file = tmp_path / "copy.gguf"
    file.write_bytes(llama_file.read_bytes())
    right = sha256(file.read_bytes()).hexdigest()
    with pytest.raises(ArtifactError) as refused:
        opened(file, sha256="0" * 64)
    assert refused.value.code == "file_hash"
    with opened(file, sha256=right) as bridge:
        assert bridge.models()[0].identity == right and bridge.summarize(["one"])
        bridge.unload()
        file.write_bytes(file.read_bytes()[:-1] + b"\1")
        with pytest.raises(ArtifactError) as refused:
            bridge.summarize(["one"])
        assert refused.value.code == "file_hash"


def test_limits_of_memory_and_of_the_start(llama_file):
    with opened(llama_file, memory_mb=64, start_timeout=20) as bridge, pytest.raises(InferenceError):
        bridge.summarize(["one"])
    started = time.monotonic()
    asleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    with opened(llama_file, command=asleep, start_timeout=0.5) as bridge:
        with pytest.raises(InferenceError) as failed:
            bridge.summarize(["one"])
        assert "0.5 s" in str(failed.value) and time.monotonic() - started < 30
    with opened(llama_file, command=["no-such-llama-server"]) as bridge, pytest.raises(OnnxMlBridgeError) as failed:
        bridge.summarize(["one"])
    assert isinstance(failed.value, DependencyError)


def test_a_call_does_not_wait_for_the_start_beyond_its_limit(llama_file, tmp_path):
    """The server goes on to start: a later call waits for the rest, and a bridge that is closed ends it."""
    may_start = tmp_path / "may start"
    slow = f"import os, time\nwhile not os.path.exists({str(may_start)!r}): time.sleep(0.01)\n{STUBBORN}"
    with opened(llama_file, command=[sys.executable, "-c", slow]) as bridge:
        host = bridge.summarizer().backend.host
        with pytest.raises(StoppedError) as stopped:
            bridge.summarizer().summarize([["one"]], SummarizeOptions(timeout=1))
        assert stopped.value.code == "timeout"
        token = CancelToken()
        threading.Timer(0.2, token.cancel).start()
        with pytest.raises(StoppedError) as stopped:
            bridge.recognizer().recognize(["one"], RecognizeOptions(cancel=token))
        wait_for(lambda: host._start.server is not None)
        pid = host._start.server.child._process.pid
        assert stopped.value.code == "cancelled" and is_alive(pid)
        may_start.touch()
        assert bridge.summarize(["one"]) and child_of(bridge) == pid
    may_start.unlink()
    bridge = opened(llama_file, command=[sys.executable, "-c", slow])
    host = bridge.summarizer().backend.host
    with pytest.raises(StoppedError):
        bridge.summarizer().summarize([["one"]], SummarizeOptions(timeout=1))
    wait_for(lambda: host._start.server is not None)
    pid = host._start.server.child._process.pid
    bridge.close()
    assert not is_alive(pid)


def test_the_socket_is_for_this_user_alone(llama_file):
    with opened(llama_file) as bridge:
        bridge.warm_up()
        socket = Path(bridge.summarizer().backend.host.wire._socket)
        assert socket.parent.stat().st_mode & 0o777 == 0o700 and socket.is_socket()
    assert not socket.parent.exists()

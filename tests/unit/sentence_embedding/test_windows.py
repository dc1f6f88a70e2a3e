"""The windows of long texts and their pooled vector.

`bridge/tests/windows.rs` compares the answers of Rust with tests/golden/embedding-windows.json. Run this file as a
script to write it, with the folder `tests/support` in PYTHONPATH.
"""

import json
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
from examples import VALID
from onnx_ml_bridge import CancelToken, ConfigError, Embedder, EmbedOptions, InputError, Model, StoppedError
from onnx_ml_bridge.runtime.session import GraphSession

TINY = VALID / "tiny-embedding"
TEXT = "the cat sings, and the dog reads a book about Paris. Ωmega! " * 40
ANSWERS = VALID.parent / "embedding-windows.json"
MIXED = "[CLS] Ω \n 🙂 é cat sings, 東京 the dog"


@pytest.fixture(scope="module")
def embedder():
    return Embedder.open(Model(TINY, variant="fp32"))


@pytest.mark.parametrize("text", ["", "cat", "the cat sings", "[CLS] cat [SEP]", "  ", "Ω \n 🙂"])
@pytest.mark.parametrize("prompt", [None, "query"])
def test_a_text_of_one_window_has_the_vector_of_the_model(embedder, text, prompt):
    options = EmbedOptions(prompt_name=prompt)
    alone = embedder.embed([text], options)
    (window,) = embedder.embed_windows(text, options)
    assert np.array_equal(window.vector, alone.vectors[0]) and window.token_count == alone.token_counts[0]
    assert np.array_equal(embedder.embed_windows(text, options).pool(), alone.vectors[0])


@pytest.mark.parametrize("stride", [0, 1, 20])
@pytest.mark.parametrize("prompt", [None, "query"])
def test_windows_cover_the_text_and_have_the_vectors_of_their_tokens(embedder, stride, prompt):
    options = EmbedOptions(prompt_name=prompt)
    windows = list(embedder.embed_windows(TEXT, options, stride=stride))
    assert len(windows) > 5 and windows[0].start == 0 and windows[-1].end == len(TEXT.rstrip())
    covered, compared = np.zeros(len(TEXT), np.int64), 0
    for window in windows:
        covered[window.start : window.end] += 1
        part = TEXT[window.start : window.end]
        assert TEXT.encode()[window.start_byte : window.end_byte].decode() == part
        assert 0 < window.token_count <= embedder.backend.max_tokens
        if (" " + TEXT)[window.start] == " " and (TEXT + " ")[window.end] == " ":  # else it cuts a word
            again = embedder.embed([part], options)
            assert again.token_counts[0] == window.token_count
            assert np.abs(window.vector - again.vectors[0]).max() < 1e-6
            compared += 1
    assert compared > 0
    assert set(covered[[not each.isspace() for each in TEXT]]) == ({1} if stride == 0 else {1, 2})


@pytest.mark.parametrize("stride", [0, 7])
def test_the_pooled_vector_is_the_mean_by_new_tokens(embedder, stride):
    windows = embedder.embed_windows(TEXT, stride=stride)
    read = [next(windows), next(windows)]
    pooled = windows.pool()
    read += list(embedder.embed_windows(TEXT, stride=stride))[2:]
    weights = [window.token_count - 2 - (stride if index else 0) for index, window in enumerate(read)]
    mean = np.average([window.vector.astype(np.float64) for window in read], axis=0, weights=weights)
    assert np.abs(pooled - mean / np.linalg.norm(mean)).max() < 1e-6
    assert abs(np.linalg.norm(pooled) - 1) < 1e-6 and pooled.dtype == np.float32


@pytest.mark.parametrize("stride", [-1, 46, 1000, "8", 1.0, True, None])
def test_a_stride_has_to_fit_into_a_window(embedder, stride):
    with pytest.raises(ConfigError, match="from 0 to 45"):
        next(embedder.embed_windows(TEXT, stride=stride))


def test_invalid_texts_and_prompts_are_refused_at_once(embedder):
    with pytest.raises(InputError) as refused:
        embedder.embed_windows(["cat"])
    assert (refused.value.code, refused.value.index) == ("input_type", None)
    with pytest.raises(InputError, match="prompt"):
        embedder.embed_windows("cat", EmbedOptions(prompt_name="no"))


def test_windows_are_computed_while_they_are_read_and_can_be_cancelled(embedder, monkeypatch):
    runs = []
    run = GraphSession.run
    monkeypatch.setattr(GraphSession, "run", lambda *args: (run(*args), runs.append(1))[0])
    token = CancelToken()
    windows = embedder.embed_windows(TEXT * 20, EmbedOptions(cancel=token))
    assert not runs
    next(windows)
    started = len(runs)
    assert 0 < started <= 16
    token.cancel()
    with pytest.raises(StoppedError) as stopped:
        list(windows)
    assert len(runs) == started
    with pytest.raises(StoppedError) as pooled:  # not the mean of the windows before the error
        windows.pool()
    assert pooled.value is stopped.value


@pytest.mark.parametrize("unit", ["a ", "Ω", "cat sings ", ".", "日"])
def test_memory_grows_by_a_bounded_number_of_bytes_per_character(unit):
    """Measured in a process of its own, because the peak of this one is that of other tests."""
    code = f"""
import resource, sys
from onnx_ml_bridge import BridgeOptions, Embedder, Model
embedder = Embedder.open(Model({str(TINY)!r}, variant="fp32"), BridgeOptions(text_limit=10**8, threads=1))
def peak(characters):
    text = ({unit!r} * characters)[:characters]
    for window in embedder.embed_windows(text):
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
base = peak(2_000)
print((peak(200_000) - base) / 200_000)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert float(done.stdout) <= 1000


def answers(embedder):
    """Return the windows and the pooled vectors of some texts, as JSON has them."""
    cases = []
    for text in ("", "cat", TEXT[:500], MIXED * 60):
        for prompt in (None, "query"):
            for stride in (0, 1, 20):
                windows = embedder.embed_windows(text, EmbedOptions(prompt_name=prompt), stride=stride)
                read = [{**asdict(window), "vector": rounded(window.vector)} for window in windows]
                case = {"text": text, "prompt_name": prompt, "stride": stride, "windows": read}
                cases.append({**case, "pooled": rounded(windows.pool())})
    return cases


def rounded(vector):
    return [round(float(value), 7) for value in vector]


def vectors(cases):
    return np.array(
        [row for case in cases for row in [case["pooled"], *(each.pop("vector") for each in case["windows"])]]
    )


def test_the_stored_answers_for_rust_are_those_of_today(embedder):
    stored, cases = json.loads(ANSWERS.read_text(encoding="utf-8")), answers(embedder)
    assert np.abs(vectors(stored) - vectors(cases)).max() < 1e-5
    for case in [*stored, *cases]:
        del case["pooled"]
    assert stored == cases


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(case) for case in answers(Embedder.open(Model(TINY, variant="fp32"))))
    ANSWERS.write_text(f"[\n{lines}\n]\n", encoding="utf-8")

"""The summarizer on simple graphs: results, settings, limits, batches, cancellation, chunks of long texts."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_ml_bridge import (
    CancelToken,
    ConfigError,
    InferenceError,
    InputError,
    OnnxMlBridge,
    StoppedError,
    SummarizeOptions,
    Summarizer,
    Summary,
)
from onnx_ml_bridge.artifacts.errors import DeviceError
from onnx_ml_bridge.artifacts.families.summarization import GenerationDefaults
from onnx_ml_bridge.runtime import chunks
from onnx_ml_bridge.runtime.chunks import is_whitespace, sentences, split_into_chunks
from onnx_ml_bridge.runtime.devices import Device, Devices
from onnx_ml_bridge.runtime.summarization.summarizer import BeamSearchSummarizer, SummarizationModel, token_ids
from small_summarizers import MAX_TOKENS, SPEC, copying_graph, endless_graph, make_model
from tokenizers import Tokenizer, pre_tokenizers

TEXTS = [["the cat", "sleeps"], ["a"], ["x" * 100], ["", "two", ""], ["Öl 🙂"]]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def endless(tmp_path_factory):
    return summarizer_of(make_model(tmp_path_factory.mktemp("endless"), endless_graph()))


@pytest.fixture
def summarizer(model):
    return summarizer_of(model)


def summarizer_of(model: SummarizationModel, **options: Any) -> Summarizer:
    return Summarizer(BeamSearchSummarizer(model, **options))


def texts_of(summaries: list[Summary]) -> list[str]:
    return [summary.text for summary in summaries]


def bytes_of(text: str) -> tuple[int, ...]:
    """Return the token ids of a text of ASCII letters and spaces: one for every byte, between two special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return (0, *(4 + alphabet.index("\u0120" if letter == " " else letter) for letter in text), 2)


def test_messages_are_joined_to_one_text(summarizer):
    (summary,) = summarizer.summarize([["the cat", "sleeps"]])
    assert summary.text == "the cat sleeps"
    assert summary.token_ids == (2, *bytes_of("the cat sleeps")) and summary.tokens == 16
    assert summary.score == pytest.approx(-16 * 2.0 / 4) and not summary.truncated
    assert texts_of(summarizer.summarize(TEXTS)[3:]) == [" two ", "Öl 🙂"]
    assert summarizer.summarize([]) == []
    bridge = OnnxMlBridge([summarizer])
    assert bridge.summarize(["the cat", "sleeps"]) == "the cat sleeps"
    assert bridge.summarize_batch(TEXTS)[3:] == [" two ", "Öl 🙂"]
    assert bridge.summarize_batch([]) == []


def test_settings_are_passed_to_the_graph_and_lengths_count_the_start_token(summarizer):
    options = SummarizeOptions(num_beams=2, max_length=8, length_penalty=-0.5)
    (summary,) = summarizer.summarize([["a long text"]], options)
    assert (summary.text, summary.tokens, summary.score) == ("a long", 7, pytest.approx(13 * 0.5 / 2))


def test_a_long_input_is_truncated(summarizer):
    (summary,) = summarizer.summarize([["x" * 100]], SummarizeOptions(max_length=64))
    assert summary.text == "x" * (MAX_TOKENS - 2) and summary.truncated


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([2, 0, 5, 2, 1, 1], (2, 0, 5, 2)),
        ([2, 2, 7, 7], (2, 2)),
        ([2, 0, 5, 1, 1], (2, 0, 5)),
        ([2], (2,)),
        ([2, 1, 1], (2,)),
        ([2, 0, 1, 5], (2, 0, 1, 5)),
        ([2, 1, 2, 1], (2, 1, 2)),
    ],
)
def test_token_ids_stop_at_the_end_token_or_before_padding(row, expected):
    assert token_ids(np.array(row, np.int64), 2, 1) == expected


@pytest.mark.parametrize(
    ("inputs", "code", "index"),
    [
        ([["a"], ["b", 5]], "input_type", 1),
        ([["a"], "text"], "input_type", 1),
        ([["a"], b"text"], "input_type", 1),
        ([["a"], None], "input_type", 1),
        ([["a"], [b"bytes"]], "input_type", 1),
        ([["a"], {"b": 1}], "input_type", 1),
        ("text", "input_type", None),
        ([["ok"], ["lone \ud800"]], "input_text", 1),
        ([["a" * 999_999], ["a" * 500_000, "b" * 500_000]], "input_too_large", 1),
        ([["a"], []], "empty_input", 1),
        ([["a"], [" ", "\u3000\n", ""]], "empty_input", 1),
    ],
)
def test_bad_inputs_are_refused_with_their_index(summarizer, inputs, code, index):
    with pytest.raises(InputError) as refused:
        summarizer.summarize(inputs)
    assert (refused.value.code, refused.value.index) == (code, index)


def test_whitespace_is_defined_by_unicode():
    white = {chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000 and is_whitespace(chr(code))}
    assert white == {c for c in map(chr, range(0x3001)) if c.isspace()} - set("\x1c\x1d\x1e\x1f")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"num_beams": 0}, "num_beams"),
        ({"num_beams": True}, "num_beams"),
        ({"num_beams": 2.0}, "num_beams"),
        ({"num_beams": 257}, "num_beams"),  # 257 x 32 exceeds the beam limit of 8192
        ({"num_beams": 10**30}, "num_beams"),
        ({"max_length": 1}, "max_length"),
        ({"max_length": 65}, "max_length"),
        ({"min_length": -1}, "min_length"),
        ({"min_length": 33}, "min_length"),
        ({"min_length": 9, "max_length": 8}, "min_length"),
        ({"length_penalty": float("nan")}, "length_penalty"),
        ({"length_penalty": float("inf")}, "length_penalty"),
        ({"length_penalty": 1e39}, "length_penalty"),
        ({"length_penalty": 10**400}, "length_penalty"),
        ({"length_penalty": "2"}, "length_penalty"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": "5"}, "timeout"),
    ],
)
def test_settings_out_of_range_are_refused(summarizer, options, named):
    with pytest.raises(ConfigError, match=f"option {named}"):
        summarizer.summarize([["a"]], SummarizeOptions(**options))
    with pytest.raises(ConfigError, match=f"option {named}"):
        summarizer.backend.check(SummarizeOptions(**options))


def test_an_invalid_default_is_reported_as_the_models(tmp_path):
    spec = replace(SPEC, defaults=GenerationDefaults(4, 20, 32, 1.0))
    with pytest.raises(ConfigError, match=r"min_length, expected 0 to 10, got 20 \(the model's default\)"):
        BeamSearchSummarizer(make_model(tmp_path, spec=spec)).check(SummarizeOptions(max_length=10))


@pytest.mark.parametrize("option", ["threads", "token_budget", "beam_limit", "text_limit"])
def test_limits_must_be_positive(model, option):
    with pytest.raises(ConfigError, match=option):
        BeamSearchSummarizer(model, **{option: 0})


def test_runs_stay_within_both_limits_and_results_are_in_order(model, monkeypatch):
    # More workers divide the texts into more runs
    summarizer = summarizer_of(model, token_budget=60, beam_limit=3 * 4 * 32, threads=1)
    shapes = []
    run = summarizer.backend._session.run

    def recorded(outputs, feeds, watch):
        shapes.append(feeds["input_ids"].shape)
        return run(outputs, feeds, watch)

    monkeypatch.setattr(summarizer.backend._session, "run", recorded)
    texts = [["x" * length] for length in (28, 1, 30, 2, 3, 4, 5, 12, 13, 14)]
    assert texts_of(summarizer.summarize(texts)) == ["x" * min(len(text[0]), 30) for text in texts]
    assert max(rows for rows, _ in shapes) == 3
    assert all(rows == 1 or rows * tokens <= 60 for rows, tokens in shapes) and len(shapes) == 5


def test_summaries_do_not_depend_on_the_batch(summarizer):
    together = summarizer.summarize(TEXTS)
    assert together == [summarizer.summarize([text])[0] for text in TEXTS]


@pytest.mark.parametrize(
    ("sequences", "scores", "message"),
    [
        (np.array([[2, 5]]), np.array([np.nan], np.float32), "not finite"),
        (np.array([[0, 5]]), np.array([0], np.float32), "begin with 2"),
        (np.array([[2, -5]]), np.array([0], np.float32), "out of range"),
        (np.array([[2, 1 << 32]]), np.array([0], np.float32), "out of range"),
        (np.array([[2, 5], [2, 5]]), np.array([0, 0], np.float32), "shape"),
        (np.zeros((1, 0), np.int64), np.array([0], np.float32), "shape"),
    ],
)
def test_invalid_outputs_are_an_inference_error(model, monkeypatch, sequences, scores, message):
    summarizer = summarizer_of(model)
    monkeypatch.setattr(summarizer.backend._session, "run", lambda *_: [sequences, scores])
    with pytest.raises(InferenceError, match=message):
        summarizer.summarize([["a"]])


def stopped(summarizer: Summarizer, options: SummarizeOptions) -> tuple[StoppedError, float]:
    with pytest.raises(StoppedError) as caught:
        summarizer.summarize([["a"]], options)
    return caught.value, time.perf_counter()


# The number of measurements of a delay. The shortest delay is tested, because a busy machine may delay a thread.
ROUNDS = 4


@pytest.mark.parametrize("map_reduce", [False, True])
def test_cancelling_stops_the_graph_within_200_ms_and_the_session_stays_usable(endless, map_reduce):
    endless.warm_up()
    delays = []
    for _ in range(ROUNDS):
        token, cancelled = CancelToken(), []

        def cancel(token=token, cancelled=cancelled):
            time.sleep(0.3)
            cancelled.append(time.perf_counter())
            token.cancel()

        thread = threading.Thread(target=cancel)
        thread.start()
        error, ended = stopped(endless, SummarizeOptions(cancel=token, map_reduce=map_reduce))
        thread.join()
        assert error.code == "cancelled"
        delays.append(ended - cancelled[0])
    assert 0 <= min(delays) < 0.2


def test_a_timeout_stops_the_graph_within_200_ms(endless):
    endless.warm_up()
    delays = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        error, ended = stopped(endless, SummarizeOptions(timeout=0.3))
        assert error.code == "timeout"
        delays.append(ended - started)
    assert 0.3 <= min(delays) < 0.5


def test_a_cancelled_token_stops_later_calls_with_it_and_no_others(endless, summarizer):
    token = CancelToken()
    assert summarizer.summarize([["a"]], SummarizeOptions(cancel=token, timeout=60))[0].text == "a"
    token.cancel()
    error, _ = stopped(endless, SummarizeOptions(cancel=token, timeout=60))
    assert error.code == "cancelled"
    error, _ = stopped(summarizer, SummarizeOptions(cancel=token))
    assert error.code == "cancelled" and not token._watches
    assert texts_of(summarizer.summarize([["a"]])) == ["a"]


def test_one_token_stops_the_calls_of_several_threads(endless):
    token, errors = CancelToken(), []

    def call():
        errors.append(stopped(endless, SummarizeOptions(cancel=token))[0].code)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    token.cancel()
    for thread in threads:
        thread.join(60)
    assert errors == ["cancelled"] * 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two!? Three", ["One.", " Two!?", " Three"]),
        ("Dr.Who v1.2 is out... Yes…\u3000no。\u2003x", ["Dr.Who v1.2 is out...", " Yes…", "\u3000no。", "\u2003x"]),
        ("a\nb\r\n\nc", ["a\n", "b\r\n", "\n", "c"]),
        ("ends. ", ["ends.", " "]),
        ("ends.", ["ends."]),
        ("ends.\x1cno space", ["ends.\x1cno space"]),
        ("ends.\n", ["ends.", "\n"]),
        ("", []),
    ],
)
def test_sentences_end_at_punctuation_and_join_to_the_text(text, expected):
    assert list(sentences(text)) == expected and "".join(expected) == text


def test_chunks_contain_as_many_sentences_as_fit():
    def fits(text: str) -> bool:
        return len(text) <= 8

    assert list(split_into_chunks("ab. cd. efghijklmn. op.\nq", fits)) == ["ab. cd.", " efghijklmn.", " op.\nq"]
    assert list(split_into_chunks("ab." + " " * 20 + "\n" * 20 + "cd", fits)) == ["ab.", "\n\n\ncd"]


def one_by_one(text: str, fits: Callable[[str], bool]) -> list[str]:
    """Return the chunks of a text, found by trying one sentence more after the other."""
    chunks = [""]
    for sentence in sentences(text):
        if chunks[-1] and not fits(chunks[-1] + sentence):
            chunks.append("")
        chunks[-1] += sentence
    return [chunk for chunk in chunks if not is_whitespace(chunk)]


@given(st.text("ab.!?\u2026 \n", max_size=200), st.integers(1, 30))
def test_chunks_are_those_of_trying_one_sentence_after_the_other(text, limit):
    def fits(chunk: str) -> bool:
        return len(chunk) <= limit

    assert list(split_into_chunks(text, fits)) == one_by_one(text, fits)


LONG = "a" * 5000


@pytest.mark.parametrize("word", ["\n", "a b c. ", "!? ", f"{LONG}. ", "b\n" * 900 + f"{LONG}\n"])
def test_the_tested_characters_are_linear_in_the_length_of_the_text(word):
    def tested(size: int) -> int:
        lengths = []

        def fits(chunk: str) -> bool:
            lengths.append(len(chunk))
            return len(chunk) <= 1000

        list(split_into_chunks(word * (size // len(word)), fits))
        return sum(lengths)

    half, whole = tested(50_000), tested(100_000)
    assert 2 * whole <= 5 * half and whole < 3_000_000


# The Rust tests have the same cases.
@pytest.mark.parametrize(
    ("fitting", "start", "limit", "expected", "tests"),
    [
        ({1, 2, 4, 5, 6}, 1, 20, 6, [1, 2, 4, 8, 6, 7]),
        ({1, 2, 3, 5}, 9, 20, 3, [9, 8, 6, 2, 4, 3]),
        ({1, 7, 8}, 7, 8, 8, [7, 8]),
        ({1}, 5, 3, 1, [3, 2, 1]),
    ],
)
def test_the_search_is_the_one_of_the_format(fitting, start, limit, expected, tests):
    tested = []

    def fits(count: int) -> bool:
        tested.append(count)
        return count in fitting

    assert (chunks._largest(fits, start, limit), tested) == (expected, tests)


BART = Path(__file__).parents[2] / "models" / "bart-package-descriptions" / "tokenizer.json"


@pytest.mark.parametrize("max_tokens", [40, 128])
def test_chunks_of_a_real_tokenizer_are_those_of_trying_one_sentence_after_the_other(max_tokens):
    tokenizer = Tokenizer.from_file(str(BART))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)

    def fits(chunk: str) -> bool:
        return not tokenizer.encode(chunk).overflowing

    for seed in range(8):
        text = "".join(adversarial_sentences(seed))
        assert list(split_into_chunks(text, fits)) == one_by_one(text, fits)


def adversarial_sentences(seed: int) -> Iterator[str]:
    random = Random(seed)
    words = ["Öl", "package", "v1.2", "🙂", "don't", "naïve", "x" * 30, "the", "of", "C++", "3.14", "日本語"]
    for _ in range(150):
        yield " ".join(random.choices(words, k=random.randint(1, 25))) + random.choice(
            [". ", "!", "?! ", "\n", ".\n\n"]
        )


def test_chunks_of_all_texts_share_batches(summarizer):
    text = "Aaaa aaaa aaaa aaaa. Bbbb bbbb bbbb bbbb."
    seen = []
    options = SummarizeOptions(max_length=8, map_reduce=True, progress=lambda done, all_: seen.append((done, all_)))
    found = summarizer.summarize([[text], ["short"], [f"{text} {text}"]], options)
    # The first round has two chunks of the first text and four of the third; the second round has all texts.
    assert seen[0][1] == 6 and seen[-1] == (3, 3) and {total for _, total in seen} <= {6, 3, 2, 1}
    assert [each.text for each in found] == ["Aaaa a", "short", "Aaaa a"]


def test_a_long_run_of_marks_is_split_in_linear_time():
    text = "!" * 300_000 + "x. y"
    assert list(sentences(text)) == ["!" * 300_000 + "x.", " y"]


def test_map_reduce_reads_the_end_of_a_long_text(summarizer):
    text = "Aaaa aaaa. Bbbb bbbb bbb. Cccc cccc cc. Dddd dddd dd. Eeee."
    (cut,) = summarizer.summarize([[text]], SummarizeOptions(max_length=8))
    assert (cut.text, cut.truncated) == ("Aaaa a", True)
    (whole,) = summarizer.summarize([[text]], SummarizeOptions(max_length=8, map_reduce=True))
    # At most 32 bytes fit: the chunks are "Aaaa... Bbbb...", " Cccc... Dddd..." and " Eeee.".
    assert (whole.text, whole.truncated) == ("Aaaa a", False)
    (longer,) = summarizer.summarize([[text]], SummarizeOptions(max_length=12, map_reduce=True))
    assert longer.text == "Aaaa aaaa." and not longer.truncated


def test_map_reduce_keeps_short_texts_and_the_order(summarizer):
    inputs = [["x. " * 40], ["short"], ["y. " * 60]]
    found = summarizer.summarize(inputs, SummarizeOptions(max_length=6, map_reduce=True))
    assert [each.text for each in found] == ["x. x", "shor", "y. y"]


def test_map_reduce_reports_truncation_if_a_sentence_is_too_long_or_nothing_gets_shorter(summarizer):
    options = SummarizeOptions(max_length=8, map_reduce=True)
    (found,) = summarizer.summarize([["x" * 100 + ". Short."]], options)
    assert found.truncated
    text = "Aaaa aaaa aaaa aaaa. Bbbb bbbb bbbb bbbb. Cccc."
    (found,) = summarizer.summarize([[text]], SummarizeOptions(max_length=64, map_reduce=True))
    assert (found.text, found.truncated) == ((text[:20] + " " + text[20:])[: MAX_TOKENS - 2], True)


def test_progress_counts_the_texts_of_every_round(summarizer):
    seen = []
    options = SummarizeOptions(max_length=8, map_reduce=True, progress=lambda done, all_: seen.append((done, all_)))
    summarizer.summarize([["Aaaa aaaa aaaa aaaa. Bbbb bbbb bbbb bbbb."]], options)
    assert seen == [(1, 2), (2, 2), (1, 1)]


def test_a_graph_with_another_start_token_is_refused(tmp_path):
    with pytest.raises(InferenceError, match="begin with 2"):
        summarizer_of(make_model(tmp_path, copying_graph(start=0))).summarize([["a"]])


def test_several_threads_get_the_results_of_one(summarizer):
    expected = summarizer.summarize(TEXTS)
    found = []
    threads = [threading.Thread(target=lambda: found.append(summarizer.summarize(TEXTS))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 8


def test_int8_is_refused_where_it_would_crash(model):
    on_gpu = replace(model, variant="int8", devices=Devices([Device("cuda", "CUDAExecutionProvider")]))
    with pytest.raises(DeviceError, match="use fp32"):
        summarizer_of(on_gpu)
    assert summarizer_of(replace(on_gpu, variant="fp32")).info.device == "cuda"

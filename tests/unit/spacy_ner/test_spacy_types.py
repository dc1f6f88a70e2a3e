"""The cache of word types computes every type once, drops the least recently used ones, and sums those of a window."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from onnx_ml_bridge.artifacts.errors import InferenceError
from onnx_ml_bridge.artifacts.families.spacy_ner import HashColumn, SpacyNetwork
from onnx_ml_bridge.runtime.cancellation import Watch
from onnx_ml_bridge.runtime.spacy_ner import word_types
from onnx_ml_bridge.runtime.spacy_ner.word_types import GAP, TypeCache

COLUMNS = (HashColumn("ORTH", 7, 1), HashColumn("SPACY", 5, 2))
WIDTH, SUMS = 2, 3


class Lexicon:
    """A fake lexicon whose rows and vectors are computed from the lexeme and the trailing space."""

    def __len__(self) -> int:
        return 50

    def rows(self, lexemes: Any, spaces: Any, network: SpacyNetwork) -> Any:
        assert network.columns == COLUMNS
        return np.repeat(2 * lexemes + spaces, 8).reshape(-1, 8).astype(np.int32)

    def vectors(self, lexemes: Any) -> Any:
        return (1000 + lexemes).astype(np.int32)


class Types:
    """A fake graph of word types, which computes outputs from their keys; `requested` lists the keys of every run."""

    def __init__(self, window: int, vectors: bool = False) -> None:
        self.positions, self.vectors, self.requested = 2 * window + 1, vectors, []

    def run(self, outputs: list[str], feeds: dict[str, Any], watch: Watch) -> list[Any]:
        assert outputs == ["embedded", "contributions"]
        rows = feeds["rows"]
        assert rows.dtype == np.int32 and rows.shape[1] == 8 and (rows == rows[:, :1]).all()
        keys = rows[:, 0]
        assert ("vectors" in feeds) == self.vectors
        if self.vectors:
            expected = np.where(keys == GAP, GAP, 1000 + keys // 2)
            assert feeds["vectors"].dtype == np.int32 and (feeds["vectors"] == expected).all()
        self.requested.append(keys.tolist())
        return [embedded(keys), np.stack([contribution(keys, index) for index in range(self.positions)], axis=1)]


def embedded(keys: Any) -> Any:
    return np.stack([keys, keys * keys], axis=1).astype(np.float32)


def contribution(keys: Any, index: int) -> Any:
    return np.stack([keys + 100 * index, keys * index, np.full_like(keys, index + 1)], axis=1).astype(np.float32)


def cache(window: int = 1, vectors: bool = False) -> tuple[TypeCache, Types]:
    session = Types(window, vectors)
    network = SpacyNetwork(columns=COLUMNS, vectors=vectors, context=1, hidden=1, pieces=1)
    return TypeCache(session, network), session  # type: ignore[arg-type]


def check(found: dict[str, Any], keys: list[int], window: int) -> None:
    array = np.array(keys)
    assert (found["embedded"] == embedded(array)).all() and found["embedded"].shape == (len(keys), WIDTH)
    expected = np.zeros((len(keys), SUMS), np.float32)
    for token, index in product(range(len(keys)), range(2 * window + 1)):
        if 0 <= (beside := token + index - window) < len(keys):
            expected[token] += contribution(array[[beside]], index)[0]
    assert found["preactivation"].dtype == np.float32 and (found["preactivation"] == expected).all()


@pytest.mark.parametrize(("window", "vectors"), product([0, 1, 2, 5], [False, True]))
def test_preactivations_are_sums_over_the_window(window, vectors):
    made, session = cache(window, vectors)
    lexicon = Lexicon()
    for keys in ([GAP, GAP, 7, 6, 7, 30, GAP], [6], [GAP], [30, 31, 30, 8, 9]):
        check(made.inputs(lexicon, np.array(keys), Watch()), keys, window)  # type: ignore[arg-type]
    assert session.requested == [[GAP, 6, 7, 30], [8, 9, 31]]


def test_types_that_were_not_used_recently_are_dropped(monkeypatch):
    monkeypatch.setattr(word_types, "MAX_TYPES", 4)
    made, session = cache()
    lexicon: Any = Lexicon()

    def requested(*expected: int) -> list[int]:
        session.requested.clear()
        check(made.inputs(lexicon, np.array(expected), Watch()), list(expected), 1)
        return [key for keys in session.requested for key in keys]

    assert requested(GAP, 10) == [GAP, 10]
    assert requested(GAP, 11, 12) == [11, 12]
    assert requested(GAP, 11) == []
    # The cache is full with four types. It keeps the two most recently used ones: padding (`GAP`) and 11.
    assert requested(13) == [13]
    assert requested(GAP, 11, 13) == []
    # The cache keeps all types of the current run, even if they exceed its limit.
    assert requested(GAP, 11, 13, 14, 15, 16) == [14, 15, 16]
    assert requested(GAP, 11, 13, 14, 15, 16) == []
    assert requested(10, 12) == [10, 12]


def test_another_lexicon_empties_the_cache():
    made, session = cache()
    for lexicon in (Lexicon(), Lexicon()):
        for _ in range(2):
            check(made.inputs(lexicon, np.array([4, 5]), Watch()), [4, 5], 1)  # type: ignore[arg-type]
    assert session.requested == [[4, 5], [4, 5]]


@pytest.mark.parametrize("method", ["run", "_drop_oldest", "_reserve"])
def test_an_interrupted_call_empties_the_cache(monkeypatch, method):
    monkeypatch.setattr(word_types, "MAX_TYPES", 2)
    made, session = cache()
    lexicon: Any = Lexicon()
    check(made.inputs(lexicon, np.array([4, GAP]), Watch()), [4, GAP], 1)

    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(session if method == "run" else word_types._CachedOutputs, method, interrupt)
        made.inputs(lexicon, np.array([4, 7]), Watch())
    for keys in ([9, 7], [4, GAP, 9]):
        check(made.inputs(lexicon, np.array(keys), Watch()), keys, 1)


@pytest.mark.parametrize(
    ("embedded", "contributions"),
    [
        ((1, 2), (2, 3, 3)),
        ((2, 2), (1, 3, 3)),
        ((2, 1), (2, 3, 3)),
        ((2, 2), (2, 2, 3)),
        ((2, 2), (2, 5, 3)),
        ((2, 2), (2, 3, 2)),
        ((2, 2), (2, 3, 0)),
        ((2, 0), (2, 3, 3)),
        ((2,), (2, 3, 3)),
        ((2, 2), (2, 3)),
    ],
)
def test_outputs_of_invalid_shapes_are_refused(monkeypatch, embedded, contributions):
    made, session = cache()
    lexicon: Any = Lexicon()
    check(made.inputs(lexicon, np.array([4]), Watch()), [4], 1)
    with monkeypatch.context() as patch:
        patch.setattr(session, "run", lambda outputs, feeds, watch: [np.zeros(embedded), np.zeros(contributions)])
        with pytest.raises(InferenceError, match="2 types"):
            made.inputs(lexicon, np.array([6, 7]), Watch())
    check(made.inputs(lexicon, np.array([7, 4]), Watch()), [7, 4], 1)

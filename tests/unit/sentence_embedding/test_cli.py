"""The command `embed`: the answers to its lines."""

import numpy as np
from examples import VALID
from onnx_ml_bridge import Embedder
from onnx_ml_bridge.cli.jsonl import Line, LineError, LineFormat, answer_lines, parse_text

TINY = VALID / "tiny-embedding"


def test_a_text_that_fails_does_not_affect_the_others(monkeypatch):
    embedder = Embedder.open(TINY)
    run = embedder.backend._session.run

    def poisoned(outputs, feeds, watch):
        (rows,) = run(outputs, feeds, watch)
        # The vectors of texts that contain the token [UNK] become NaN
        return [np.where((feeds["input_ids"] == 1).any(1)[:, None], np.float32(np.nan), rows)]

    monkeypatch.setattr(embedder.backend._session, "run", poisoned)
    lines = [Line(1, b'"dog"'), Line(2, '"Ω"'.encode()), Line(3, b'"tree"')]
    found = answer_lines(embedder.embed_each, lines, LineFormat(1000, parse_text))
    assert [each.code if isinstance(each, LineError) else None for each in found] == [None, "inference", None]

"""The command `ner` with a token classifier: the answers to its lines."""

import numpy as np
from examples import VALID
from onnx_ml_bridge import RecognizeOptions, Recognizer
from onnx_ml_bridge.cli.ner import EntityAnswers, NerEntry

TINY = VALID / "tiny-ner"


def test_a_text_that_fails_does_not_affect_the_others(monkeypatch):
    recognizer = Recognizer.open(TINY)
    run = recognizer.backend._session.run

    def poisoned(outputs, feeds, watch):
        (logits,) = run(outputs, feeds, watch)
        is_short = feeds["attention_mask"].sum(1) < 5
        return [np.where(is_short[:, None, None], np.float32(np.nan), logits)]

    monkeypatch.setattr(recognizer.backend._session, "run", poisoned)
    texts = ["A ferry crossed the strait.", "a", "The storm passed before noon."]
    found = EntityAnswers(recognizer, RecognizeOptions())([NerEntry(text) for text in texts])
    assert [getattr(each, "code", None) for each in found] == [None, "inference", None]
    assert [len(each.entities) > 0 for each in found[::2]] == [True, True]

"""The calls whose answers are compared with those of GLiNER's library, and the stored answers.

    python tests/support/gliner_calls.py --python .venv-gliner/bin/python    # computes the stored answers anew

The answers depend on the recipes of small_gliners.py and on the texts and vocabularies of the package.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from gliner_exports import SmallGlinerExport, export_gliner
from onnx_ml_bridge.artifacts.ner import ExpectedEntity
from onnx_ml_bridge.parity.gliner.evaluation import GlinerInput, begins_near
from onnx_ml_bridge.parity.gliner.original import GlinerSettings, OriginalAnswer
from onnx_ml_bridge.parity.ner.evaluation import ner_texts
from onnx_ml_bridge.runtime.entities import Entities
from small_gliners import SMALL_GLINERS

ANSWERS = Path(__file__).parents[1] / "parity" / "gliner_answers.jsonl"
LIBRARY = Path(__file__).with_name("gliner_library.py")
LABEL_SETS = (
    ("person", "location", "date of an event"),
    ("organization",),
    ("a", "b", "c", "d", "e", "f", "g"),
    ("Ärzte & Co", "  ", "person"),
    ("date", "event"),
)
STORED_TEXTS = 10
_SEED = 20261127
_SPAN_THRESHOLDS, _TOKEN_THRESHOLDS = (0.9, 0.95, 0.97), (0.3, 0.4, 0.5)
_ODD = ("", "  \n ", "a", "\ufeff", "a\u200d b", "x-y--z _q-_ w", "नमस्ते दुनिया", "ﬁ ½ ² ٣", "<<ENT>> x <<SEP>>")


def texts_of(count: int) -> list[str]:
    """Return texts of all lengths and scripts, in an order that does not depend on `count`."""
    texts = [*ner_texts("en"), *_ODD]
    source = random.Random(_SEED)
    texts += [" ".join(source.choice(texts) for _ in range(3)) for _ in range(200)]
    source.shuffle(texts)
    return texts[:count]


def calls_of(export: SmallGlinerExport, count: int) -> list[GlinerInput]:
    """Return calls for `count` texts and every list of labels; each window of a long text is a call of its own."""
    thresholds = _SPAN_THRESHOLDS if export.spec.mode == "span" else _TOKEN_THRESHOLDS
    calls = []
    for number, text in enumerate(texts_of(count)):
        for labels in LABEL_SETS:
            source = random.Random(f"{number} {labels}")
            modes = source.random() < 0.4, source.random() < 0.4
            settings = GlinerSettings(labels, source.choice(thresholds), *modes, export.spec.stride)
            calls += [GlinerInput(part, settings=settings) for part in _windows(export, text, labels)]
    return calls


def _windows(export: SmallGlinerExport, text: str, labels: tuple[str, ...]) -> Iterator[str]:
    """Yield the texts of the windows of a text; the text itself if it has no words or fits."""
    preprocessor = export.preprocessor
    divided = preprocessor.windows(text, preprocessor.prompt(labels), export.spec.stride)
    if len(divided.windows) <= 1:
        yield text
        return
    for window in divided.windows:
        yield text[int(divided.words[window.words.start, 0]) : int(divided.words[window.words.end - 1, 1])]


def library_answers(python: str, export: SmallGlinerExport, calls: Sequence[GlinerInput]) -> list[OriginalAnswer]:
    """Return the answers of GLiNER's library.

    :param python: the interpreter of the environment with the library.
    """
    settings = ("labels", "threshold", "nested", "multi_label")
    lines = "".join(
        json.dumps({"text": each.text, **{name: getattr(each.call, name) for name in settings}}) + "\n"
        for each in calls
    )
    limit = export.preprocessor.tokenizer.spec.max_tokens
    done = subprocess.run(
        [python, str(LIBRARY), str(export.source), str(limit)],
        input=lines,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(calls), done.stderr[-2000:]
    return [_answer(rows) for rows in answers]


def stored_answers(name: str, calls: Sequence[GlinerInput]) -> list[OriginalAnswer]:
    """Return the stored answers of a model; fails if they are those of other calls."""
    records = [json.loads(line) for line in ANSWERS.read_text(encoding="utf-8").splitlines()]
    record = next(each for each in records if each["model"] == name)
    assert record["calls"] == _digest(calls), "the calls have changed: run `make agreement-gliner`"
    return [
        _answer([(start, end, call.call.labels[label], score) for start, end, label, score in rows])
        for call, rows in zip(calls, record["answers"], strict=True)
    ]


def _answer(rows: Sequence[Sequence[object]]) -> OriginalAnswer:
    return OriginalAnswer(tuple(ExpectedEntity(*row) for row in rows), 0, False, 0.0)  # type: ignore[arg-type]


def _digest(calls: Sequence[GlinerInput]) -> str:
    return hashlib.sha256("\n".join(f"{each.text!r} {each.settings}" for each in calls).encode()).hexdigest()


def differences(
    calls: Sequence[GlinerInput], expected: Sequence[OriginalAnswer], actual: Sequence[Entities]
) -> tuple[list[int], list[int], float]:
    """Compare answers: the calls that differ, those that differ by scores that are near, and the largest difference."""
    differing, near, largest = [], [], 0.0
    for index, (call, reference, answer) in enumerate(zip(calls, expected, actual, strict=True)):
        keys = [(each.start, each.end, each.label) for each in reference.entities]
        if keys == [(each.start, each.end, each.label) for each in answer]:
            pairs = zip(reference.entities, answer, strict=True)
            largest = max([largest, *(abs(a.score - b.score) for a, b in pairs)])
        else:
            (near if begins_near(call, reference, answer) else differing).append(index)
    return differing, near, largest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="the interpreter of the environment with GLiNER's library")
    python, lines = parser.parse_args().python, []
    for name in SMALL_GLINERS:
        with tempfile.TemporaryDirectory() as folder:
            export = export_gliner(Path(folder), name)
            calls = calls_of(export, STORED_TEXTS)
            answers = library_answers(python, export, calls)
        rows = [
            [[each.start, each.end, call.call.labels.index(each.label), round(each.score, 5)] for each in one.entities]
            for call, one in zip(calls, answers, strict=True)
        ]
        record = {"model": name, "calls": _digest(calls), "answers": rows}
        lines.append(json.dumps(record, separators=(",", ":")) + "\n")
    ANSWERS.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()

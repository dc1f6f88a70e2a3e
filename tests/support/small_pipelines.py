"""Create the small random spaCy pipelines of the parity tests.

    make_pipeline("en", depth=2, parser=True)

The components are spaCy's own; nothing is trained. All weights are random, seeded and uneven, and none is zero, unlike
those of a new component. Texts have many entities of every label, some of several tokens, and many sentences; the
parser's labels include decorated ones (`det||obj`).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import spacy
from numpy.random import RandomState
from onnx_ml_bridge.quantize.calibration import read_calibration_texts
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vectors import Vectors
from thinc.api import Model, set_dropout_rate

LABELS = ("PERSON", "PLACE", "DATE", "B-SIDE")
PARSER_LABELS = {"L": ("det", "nsubj", "det||obj"), "R": ("obj", "nsubj", "conj||nsubj", "obj||det")}
ATTRIBUTES = ("NORM", "PREFIX", "SUFFIX", "SHAPE")
ALL_ATTRIBUTES = ("NORM", "PREFIX", "SUFFIX", "SHAPE", "LOWER", "ORTH", "SPACY", "IS_SPACE")
VECTOR_WORDS = (
    "Paris",
    "London",
    "the",
    "a",
    "of",
    "in",
    "and",
    "la",
    "de",
    "le",
    "el",
    "en",
    ",",
    ".",
    "Smith",
    "was",
)
_VECTOR_WIDTH = 6
_ROWS = (61, 53, 47, 59)
_SEED = 20260303
# spaCy's integers for the kinds of moves of the component `ner`, then for those of the parser.
_BEGIN, _IN, _LAST, _UNIT, _OUT = range(1, 6)
_SHIFT, _REDUCE, _LEFT, _RIGHT, _BREAK = range(5)
# `_SPREAD` is the standard deviation of a move's scores, and `_BIAS` is added to the scores of some kinds of moves.
# With these values, about half of the tokens of a text are in entities, and sentences have several tokens.
_SPREAD = 3.0
_BIAS = {"ner": {"O": 4.5, "I": 1.0}, "parser": {"S": 2.0, "D": 0.5, "L": 1.0, "R": 1.0}}
_ROUNDS = 3
# Every n-th calibration text is used to balance the scores; see `_balance`.
_EVERY = 8


def make_pipeline(
    language: str = "en",
    *,
    labels: Sequence[str] = LABELS,
    attributes: Sequence[str] = ATTRIBUTES,
    width: int = 12,
    depth: int = 2,
    window: int = 1,
    pieces: int = 3,
    hidden: int = 10,
    state_pieces: int = 2,
    vectors: bool = False,
    parser: bool = False,
    listeners: Sequence[str] = (),
    last_first: bool = False,
    seed: int = _SEED,
    base: Language | None = None,
) -> Language:
    """Return a pipeline with the component `ner`, and before it `tok2vec` and `parser` if they are requested.

    :param pieces: maxout pieces of the encoder.
    :param state_pieces: maxout pieces of the layer that computes states.
    :param listeners: the components (`ner`, `parser`) that share one tok2vec instead of having their own.
    :param last_first: put L- moves before I- moves, so that L is chosen if the scores are equal.
    :param base: an empty pipeline with its own tokenizer to add the components to.
    """
    nlp = spacy.blank(language) if base is None else base
    if vectors:
        _add_vectors(nlp)
    shape = {"width": width, "depth": depth, "window_size": window, "maxout_pieces": pieces}
    own = _tok2vec(attributes, shape, vectors)
    if listeners:
        nlp.add_pipe("tok2vec", config={"model": own})
    names = ["parser", "ner"] if parser else ["ner"]
    for name in names:
        shared = {"@architectures": "spacy.Tok2VecListener.v1", "width": width, "upstream": "*"}
        nlp.add_pipe(
            name,
            config={
                "model": {
                    "@architectures": "spacy.TransitionBasedParser.v2",
                    "state_type": name,
                    "extra_state_tokens": False,
                    "hidden_width": hidden,
                    "maxout_pieces": state_pieces,
                    "use_upper": True,
                    "tok2vec": shared if name in listeners else own,
                }
            },
        )
    _initialize(nlp, labels, last_first)
    for name, component in nlp.pipeline:
        _fill(component.model, RandomState(zlib.crc32(f"{seed} {name}".encode())))
    docs = [nlp.make_doc(text) for text in read_calibration_texts(None)[::_EVERY]]
    for name, component in nlp.pipeline:
        if name != "tok2vec":
            _balance(component, docs)
        docs = list(component.pipe(docs))
    return nlp


def clear_texts(nlp: Language, texts: Iterable[str], margin: float) -> list[str]:
    """Return the texts for which the two best valid moves of every state have scores that differ by at least `margin`.

    If the scores of two moves are closer, rounding errors decide between them, which depend on the order in which an
    engine adds numbers.
    """
    candidates = list(texts)
    docs = [nlp.make_doc(text) for text in candidates]
    smallest = np.full(len(docs), np.inf)
    for _, component in nlp.pipeline:
        if hasattr(component, "moves"):
            smallest = np.minimum(smallest, _margins(component, docs))
        docs = list(component.pipe(docs))
    return [text for text, lowest in zip(candidates, smallest, strict=True) if lowest >= margin]


def _margins(component: Any, docs: list[Doc]) -> Any:
    """Return the smallest difference of the scores of the two best valid moves in each document, float64 `[docs]`.

    The difference is infinite if no state of the document has two valid moves.
    """
    names = component_moves(component)
    smallest = np.full(len(docs), np.inf)
    for indices, states, scores in _steps(component, docs):
        for index, state, row in zip(indices, states, scores, strict=True):
            valid = sorted(row[number] for number, name in enumerate(names) if _is_valid(component.moves, state, name))
            if len(valid) > 1:
                smallest[index] = min(smallest[index], float(valid[-1]) - float(valid[-2]))
    return smallest


def _steps(component: Any, docs: list[Doc]) -> Iterator[tuple[list[int], list[Any], Any]]:
    """Parse greedily; yield, after each step, the indices of unfinished documents, their states and all scores."""
    set_dropout_rate(component.model, 0.0)
    step = component.model.predict(docs)
    open_states = [(index, state) for index, state in enumerate(component.moves.init_batch(docs))]
    while open_states := [(index, state) for index, state in open_states if not state.is_final()]:
        states = [state for _, state in open_states]
        scores = np.ascontiguousarray(step.predict(states))
        yield [index for index, _ in open_states], states, scores
        component.transition_states(states, scores)


def _is_valid(moves: Any, state: Any, name: str) -> bool:
    return name != "U-" and bool(moves.is_valid(state, name))


def _tok2vec(attributes: Sequence[str], shape: dict[str, int], vectors: bool) -> dict[str, Any]:
    rows = [_ROWS[index % len(_ROWS)] for index in range(len(attributes))]
    embed = {
        "@architectures": "spacy.MultiHashEmbed.v2",
        "width": shape["width"],
        "attrs": list(attributes),
        "rows": rows,
        "include_static_vectors": vectors,
    }
    encode = {"@architectures": "spacy.MaxoutWindowEncoder.v2", **shape}
    return {"@architectures": "spacy.Tok2Vec.v2", "embed": embed, "encode": encode}


def _add_vectors(nlp: Language) -> None:
    """Add static vectors; two words share one row, and the keys are not in the order of the rows."""
    words = list(VECTOR_WORDS)
    data = RandomState(7).normal(size=(len(words) - 1, _VECTOR_WIDTH)).astype(np.float32)
    nlp.vocab.vectors = Vectors(strings=nlp.vocab.strings, data=data, keys=words[:-1], name="small")
    nlp.vocab.vectors.add(words[-1], row=3)


def _initialize(nlp: Language, labels: Sequence[str], last_first: bool) -> None:
    doc = nlp.make_doc("Some words, to find the sizes.")
    examples = [Example.from_dict(doc, {})]
    for name, component in nlp.pipeline:
        if name == "tok2vec":
            component.initialize(lambda: examples, nlp=nlp)
        else:
            actions = _ner_actions(labels, last_first) if name == "ner" else _parser_actions()
            component.initialize(lambda: examples, labels=actions)


def _ner_actions(labels: Sequence[str], last_first: bool) -> dict[int, dict[str, int]]:
    """Return the frequencies of the labels for every kind of move; spaCy orders moves by them, negative ones last."""
    known = {label: len(labels) - index for index, label in enumerate(labels)}
    within = {label: -frequency for label, frequency in known.items()} if last_first else known
    return {_BEGIN: known, _IN: within, _LAST: known, _UNIT: {**known, "": 1}, _OUT: {"": 1}}


def _parser_actions() -> dict[int, dict[str, int]]:
    left, right = ({label: 1 for label in PARSER_LABELS[side]} for side in "LR")
    return {_SHIFT: {"": 1}, _REDUCE: {"": 1}, _LEFT: left, _RIGHT: right, _BREAK: {"ROOT": 1}}


def _fill(model: Model[Any, Any], source: RandomState) -> None:
    """Set all weights to random values; the scales and biases are uneven, so that tests detect missing ones."""
    for layer in model.walk():
        for name in layer.param_names:
            if layer.has_param(name):
                shape = layer.get_param(name).shape
                layer.set_param(name, _draw(layer.name, name, shape, source).astype(np.float32))


def _draw(layer: str, name: str, shape: tuple[int, ...], source: RandomState) -> Any:
    drawn = source.normal(size=shape)
    if name == "G":
        return 1.0 + 0.3 * drawn
    if name == "W":
        return drawn * (2.0 if layer == "linear" else 1.0) / np.sqrt(shape[-1])
    return drawn * (0.3 if name in ("b", "pad") else 1.0)


def _balance(component: Any, docs: list[Doc]) -> None:
    """Make the scores of all moves equal on average over typical states, except for what `_BIAS` adds.

    Otherwise one or two moves would have the highest score in all states.
    """
    upper = component.model.layers[2]
    bias = np.array([_BIAS[component.name].get(name[0], 0.0) for name in component_moves(component)])
    for _ in range(_ROUNDS):
        scores = np.concatenate([scores for _, _, scores in _steps(component, docs)]).astype(np.float64)
        factor = _SPREAD / scores.std(0)
        weight, old = upper.get_param("W") * factor[:, None], upper.get_param("b")
        upper.set_param("W", weight.round(4).astype(np.float32))
        upper.set_param("b", ((old - scores.mean(0)) * factor + bias).round(4).astype(np.float32))


def component_moves(component: Any) -> list[str]:
    """Return the names of a component's moves, in order."""
    return [component.moves.get_class_name(number) for number in range(component.moves.n_moves)]

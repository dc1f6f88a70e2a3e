"""The transitions (moves) of spaCy's entity recognizer and parser, as an artifact lists them."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...artifacts.errors import BuildError


@dataclass(frozen=True, eq=False)
class NerMoves:
    """The BILUO transitions of an entity recognizer.

    - `closed`: the indices `[n]` of the transitions that are possible while no entity is open (O, B-, U-), ascending.
    - `closed_labels`: int32 `[n]`, the index of the entity label of each transition in `closed`, -1 for O.
    - `closed_begins`: bool `[n]`, which transitions in `closed` are B-.
    - `within` and `last`: the indices of I- and of L- for each label, `[labels]`.
    - `tie`: the transition that is chosen if I- and L- have equal scores, `in` or `last`.
    """

    labels: tuple[str, ...]
    closed: NDArray[np.intp]
    closed_labels: NDArray[np.int32]
    closed_begins: NDArray[np.bool_]
    within: NDArray[np.intp]
    last: NDArray[np.intp]
    tie: str


def move_names(component: Any) -> list[str]:
    """Return the names of a spaCy component's transitions, in the order of their scores."""
    moves = component.moves
    return [moves.get_class_name(number) for number in range(moves.n_moves)]


def ner_moves(component: Any) -> NerMoves:
    """Return the transitions of an entity recognizer.

    :raises BuildError: with the code `unsupported_model`, if transitions are missing, or if I- comes before L- for some
        labels and after it for others.
    """
    names = move_names(component)
    labels = tuple(name[2:] for name in names if name.startswith("B-"))
    classes = {name: number for number, name in enumerate(names)}
    _require_biluo(labels, classes)
    # The transition U- (entity of one token) with an empty label is left out: spaCy applies it only to tokens that
    # another component has excluded from entities, and no supported component does that
    closed = [name for name in names if name == "O" or (name[:2] in ("B-", "U-") and name[2:])]
    within = np.array([classes[f"I-{label}"] for label in labels])
    last = np.array([classes[f"L-{label}"] for label in labels])
    if len({bool(is_before) for is_before in within < last}) != 1:
        raise BuildError("unsupported_model", "some I- transitions come before their L-, some after")
    return NerMoves(
        labels=labels,
        closed=np.array([classes[name] for name in closed]),
        closed_labels=np.array([-1 if name == "O" else labels.index(name[2:]) for name in closed], np.int32),
        closed_begins=np.array([name.startswith("B-") for name in closed]),
        within=within,
        last=last,
        tie="in" if within[0] < last[0] else "last",
    )


def _require_biluo(labels: tuple[str, ...], names: Container[str]) -> None:
    missing = [f"{kind}-{label}" for label in labels for kind in "IUL" if f"{kind}-{label}" not in names]
    if missing or "O" not in names or not labels:
        raise BuildError(
            "unsupported_model",
            "the entity recognizer's transitions are not BILUO",
            actual=f"no {', '.join(missing) or 'O or no label'}",
        )


def parser_moves(component: Any) -> tuple[str, ...]:
    """Return the transitions of a dependency parser: `S`, `D`, `L-label`, `R-label`, `B-label`.

    :raises BuildError: with the code `unsupported_model` for a parser that merges tokens.
    """
    names = tuple(move_names(component))
    if any(name[2:] == "subtok" for name in names):
        raise BuildError("unsupported_model", "a parser that merges tokens (learn_tokens = true)")
    return names

"""The transitions of spaCy's components as the artifact names them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...artifacts.errors import BuildError


@dataclass(frozen=True)
class NerMoves:
    """The BILUO transitions of an entity recognizer.

    `closed` are the classes `[n]` that can be made while no entity is open (O, B-, U-), in their order;
    `closed_labels` int32 `[n]` the entity label each would give, -1 for O; `closed_begins` bool `[n]` which of them are
    B-. `within` and `last` are the classes `[labels]` of I- and L-; `tie` says which wins at equal scores.
    """

    labels: tuple[str, ...]
    closed: NDArray[np.intp]
    closed_labels: NDArray[np.int32]
    closed_begins: NDArray[np.bool_]
    within: NDArray[np.intp]
    last: NDArray[np.intp]
    tie: str


def move_names(component: Any) -> list[str]:
    """Names of a component's transitions in the order of its classes."""
    moves = component.moves
    return [moves.get_class_name(number) for number in range(moves.n_moves)]


def ner_moves(component: Any) -> NerMoves:
    """The transitions of an entity recognizer.

    :raises BuildError: with the code `unsupported_model` when a label lacks one, or I- and L- are mixed in order.
    """
    names = move_names(component)
    labels = tuple(name[2:] for name in names if name.startswith("B-"))
    index = {name: number for number, name in enumerate(names)}
    lacking = [f"{kind}-{label}" for label in labels for kind in "IUL" if f"{kind}-{label}" not in index]
    if lacking or "O" not in index or not labels:
        raise BuildError(
            "unsupported_model",
            "the entity recognizer's transitions are not BILUO",
            got=f"no {', '.join(lacking) or 'O or no label'}",
        )
    # U- with the empty label is for tokens that other components have ruled out; here there are none
    closed = [number for number, name in enumerate(names) if name == "O" or (name[:2] in ("B-", "U-") and name[2:])]
    within = np.array([index[f"I-{label}"] for label in labels])
    last = np.array([index[f"L-{label}"] for label in labels])
    if len({bool(tie) for tie in within < last}) != 1:
        raise BuildError("unsupported_model", "some I- transitions come before their L-, some after")
    known = {label: number for number, label in enumerate(labels)}
    return NerMoves(
        labels=labels,
        closed=np.array(closed),
        closed_labels=np.array(
            [-1 if names[number] == "O" else known[names[number][2:]] for number in closed], np.int32
        ),
        closed_begins=np.array([names[number].startswith("B-") for number in closed]),
        within=within,
        last=last,
        tie="in" if within[0] < last[0] else "last",
    )


def parser_moves(component: Any) -> tuple[str, ...]:
    """The transitions of a dependency parser: `S`, `D`, `L-label`, `R-label`, `B-label`.

    :raises BuildError: with the code `unsupported_model` for a parser that joins sub-tokens.
    """
    names = tuple(move_names(component))
    if any(name[2:] == "subtok" for name in names):
        raise BuildError("unsupported_model", "a parser that joins tokens (learn_tokens = true)")
    return names

"""The transitions of spaCy's dependency parser, a greedy arc-eager system (FORMAT.md, "The parser")."""

from __future__ import annotations

_SHIFT, _REDUCE, _LEFT, _RIGHT, _BREAK = range(5)
# The index of each kind of transition in the result of `State.valid`, by the first character of the transition's name
# in `parser.moves` of the manifest.
KINDS = {"S": _SHIFT, "D": _REDUCE, "L": _LEFT, "R": _RIGHT, "B": _BREAK}
# The index that stands for a missing token or a missing head.
NONE = -1


class State:
    """Stack, buffer and arcs of one document; tokens are given by their indices.

    The buffer consists of the tokens in `returned`, the last of which comes first, then of all tokens from `next` on.
    `returned` holds tokens that were popped from the stack without a head.
    """

    def __init__(self, tokens: int) -> None:
        """Create the initial state of a document: an empty stack, and all tokens in the buffer."""
        self.tokens = tokens
        self.stack: list[int] = []
        self.returned: list[int] = []
        self.next = 0
        self.heads = [NONE] * tokens
        self.labels = [""] * tokens
        self._left: dict[int, list[int]] = {}
        self._right: dict[int, list[int]] = {}
        self._unshiftable = [False] * tokens
        self._starts = {0}

    def is_final(self) -> bool:
        """Return whether stack and buffer are empty."""
        return not self.stack and self._buffered() == 0

    def valid(self) -> tuple[bool, bool, bool, bool, bool]:
        """Return whether each kind of transition is valid in this state, in the order of `KINDS`."""
        (first, second), buffered = self._front(), self._buffered()
        starts = first in self._starts
        has_stack = bool(self.stack)
        attaches = has_stack and buffered > 0 and not starts
        shifts = not has_stack or (buffered >= 2 and not starts and not self._unshiftable[first])
        breaks = buffered >= 2 and second == first + 1 and second not in self._starts
        return shifts, has_stack, attaches, attaches, breaks

    def context(self) -> tuple[int, ...]:
        """Return the eight tokens whose features determine the scores of transitions; `NONE` for a missing token.

        The tokens are B0 and B1 (the first two of the buffer), S0, S1 and S2 (the top three of the stack), the last
        left child of B0, and the last left and the last right child of S0.
        """
        first, second = self._front()
        top = [*self.stack[-1:-4:-1], NONE, NONE, NONE]
        last = self._last_child
        return (first, second, *top[:3], last(self._left, first), last(self._left, top[0]), last(self._right, top[0]))

    def apply(self, kind: int, label: str) -> None:
        """Apply a valid transition; `label` is used by left and right arcs."""
        first, second = self._front()
        if kind == _SHIFT:
            self._push()
        elif kind == _REDUCE:
            self._reduce()
        elif kind == _LEFT:
            self._attach(first, self.stack[-1], label)
            self._unshiftable[first] = False
            self.stack.pop()
        elif kind == _RIGHT:
            self._attach(self.stack[-1], first, label)
            self._push()
        else:
            self._starts.add(second)

    def _buffered(self) -> int:
        """Return the number of tokens in the buffer."""
        return self.tokens - self.next + len(self.returned)

    def _front(self) -> tuple[int, int]:
        """Return the first two tokens of the buffer."""
        coming = self.next if self.next < self.tokens else NONE
        if not self.returned:
            return coming, self.next + 1 if self.next + 1 < self.tokens else NONE
        return self.returned[-1], self.returned[-2] if len(self.returned) > 1 else coming

    def _push(self) -> None:
        if self.returned:
            self.stack.append(self.returned.pop())
        else:
            self.stack.append(self.next)
            self.next += 1

    def _reduce(self) -> None:
        top = self.stack.pop()
        if self.heads[top] == NONE and self.stack:
            self._unshiftable[top] = True
            self.returned.append(top)

    def _attach(self, head: int, child: int, label: str) -> None:
        """Set the head and the label of the token `child`.

        As in spaCy, the token is removed from the children of its former head only if it is the last child on its side.
        """
        old = self.heads[child]
        if old != NONE:
            siblings = (self._left if old > child else self._right).get(old)
            if siblings and siblings[-1] == child:
                siblings.pop()
        (self._left if head > child else self._right).setdefault(head, []).append(child)
        self.heads[child], self.labels[child] = head, label

    @staticmethod
    def _last_child(children: dict[int, list[int]], head: int) -> int:
        """Return the child that was attached last to a token on one side, or `NONE`."""
        attached = children.get(head)
        return attached[-1] if attached else NONE

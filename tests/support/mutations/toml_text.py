"""Mutations of TOML texts."""

from __future__ import annotations

import re
from random import Random

from .binary import mutated_bytes

_VALUES = (
    "true",
    "-1",
    "0",
    "1.0",
    "9223372036854775807",
    "9223372036854775808",
    "1e400",
    "nan",
    "inf",
    '""',
    '"a"',
    '"\\u0000"',
    '"\\ud800"',
    "[]",
    "{}",
    "1979-05-27",
    "0x10",
    "1_000",
    "'''\n'''",
    "[" * 500,
    '"../../tiny-ner"',
)


def mutated_toml(raw: bytes, source: Random) -> bytes:
    """Return a changed text of TOML: a line that is gone, repeated or moved, another value or key, or other bytes."""
    if source.random() < 0.15:
        return mutated_bytes(raw, source)
    lines = raw.decode().splitlines(keepends=True)
    index = source.randrange(len(lines))
    kind = source.randrange(6)
    if kind == 0:
        del lines[index]
    elif kind == 1:
        lines.insert(source.randrange(len(lines)), lines[index])
    elif kind == 2:
        lines[index] = re.sub(r"\w+", lambda found: found[0] + source.choice(("", "x", ".y")), lines[index], count=1)
    else:
        changed = [number for number, line in enumerate(lines) if "=" in line] or [index]
        index = source.choice(changed)
        lines[index] = f"{lines[index].partition('=')[0]}= {source.choice(_VALUES)}\n"
    return "".join(lines).encode()

"""The public API of the Python package equals its snapshot, tests/api/python.txt.

If a change of the API is intended, write the new snapshot: python tests/unit/test_python_api.py
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path

import onnx_ml_bridge
from pydantic import BaseModel

_SIMPLE = (bool, int, str, type(None))
SNAPSHOT = Path(__file__).parents[1] / "api/python.txt"


def public_api() -> str:
    """Return a line for each public name, and a line for each public member of a class."""
    lines = []
    for name in sorted(onnx_ml_bridge.__all__):
        value = getattr(onnx_ml_bridge, name)
        if inspect.isclass(value):
            lines += [class_line(name, value), *(f"    {line}" for line in member_lines(value))]
        else:
            lines.append(f"def {name}{signature(value)}")
    return "\n".join(lines) + "\n"


def class_line(name: str, kind: type) -> str:
    bases = [base.__name__ for base in kind.__bases__ if base is not object]
    return f"class {name}({', '.join(bases)})" if bases else f"class {name}"


def member_lines(kind: type) -> list[str]:
    if issubclass(kind, Enum):
        return [f"{member.name} = {member.value!r}" for member in kind]
    fields = (
        [f"{field.name}: {field.type}" for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []
    )
    if issubclass(kind, BaseModel):
        return [f"{name}: {field.annotation}" for name, field in kind.model_fields.items()]
    return fields + [
        line for name in sorted(vars_of(kind)) if (line := member_line(name, inspect.getattr_static(kind, name)))
    ]


def vars_of(kind: type) -> set[str]:
    """Return the public members that a class has itself or from classes of this package, fields left out."""
    own = [base for base in kind.__mro__ if base.__module__.startswith("onnx_ml_bridge")]
    fields = {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
    return {name for base in own for name in vars(base) if not name.startswith("_")} - fields


def member_line(name: str, member: object) -> str:
    if isinstance(member, property):
        return f"{name}: {member.fget.__annotations__['return']}"
    if isinstance(member, classmethod):
        return f"@classmethod {name}{signature(member.__func__)}"
    return f"{name}{signature(member)}" if callable(member) else f"{name} = {member!r}"


def signature(function: Callable[..., object]) -> str:
    """Return a signature without quotes around annotations, and with `...` for default values that are objects."""
    found = inspect.signature(function)
    parameters = [
        each if each.default is each.empty or isinstance(each.default, _SIMPLE) else each.replace(default=...)
        for each in found.parameters.values()
    ]
    return str(found.replace(parameters=parameters)).replace("Ellipsis", "...").replace("'", "")


def test_the_api_equals_its_snapshot():
    assert public_api() == SNAPSHOT.read_text(encoding="utf-8")


if __name__ == "__main__":
    SNAPSHOT.write_text(public_api(), encoding="utf-8")
    sys.stdout.write(public_api())

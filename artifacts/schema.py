"""The JSON schema of the manifest, composed of a common part and one part per family.

manifest.schema.json is the composed schema of all families; the Rust crate and other readers use that file.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

import jsonschema_rs

from . import strict_json

if TYPE_CHECKING:
    from .family import Family, Interface

_PACKAGE = __package__
_TITLE = "onnx-ml-bridge artifact manifest, format version 1"


def read_schema(family: str) -> dict[str, Any]:
    """Read the schema part of a family of this package: families/NAME.schema.json."""
    return _read(f"families/{family}.schema.json")


def compose_schema(families: Sequence[Family]) -> dict[str, Any]:
    """Return the schema that accepts the manifests of the given families and no others."""
    schema = _read("manifest.common.schema.json")
    schema["title"] = _TITLE
    schema["unevaluatedProperties"] = False
    schema["anyOf"] = [_is_of(family) for family in families]
    schema["allOf"] = [{"if": _is_of(family), "then": _requirements(family)} for family in families]
    for family in families:
        schema["$defs"] |= family.schema.get("$defs", {})
    return schema


@functools.cache
def schema_validator(families: tuple[Family, ...]) -> jsonschema_rs.Draft202012Validator:
    """Return a validator for the composed schema; the Rust crate uses the same validator library."""
    return jsonschema_rs.Draft202012Validator(compose_schema(families))


def bridge_schema() -> dict[str, Any]:
    """Return the schema of bridge.toml, which the Rust crate also uses."""
    return _read("bridge.schema.json")


def _is_of(family: Family) -> dict[str, Any]:
    return {
        "properties": {"task": {"const": family.task}, "engine": {"const": family.engine}},
        "required": ["task", "engine"],
    }


def _requirements(family: Family) -> dict[str, Any]:
    own = {key: value for key, value in family.schema.items() if key != "$defs"}
    revision = {"properties": {"task_revision": {"maximum": family.revision}}}
    return {"allOf": [own, revision, {"properties": {"variants": {"additionalProperties": _graphs(family.roles)}}}]}


def _graphs(roles: Mapping[str, Interface]) -> dict[str, Any]:
    return {
        "properties": {
            "graphs": {
                "required": [role for role, interface in roles.items() if interface.is_required],
                "additionalProperties": False,
                "properties": dict.fromkeys(roles, True),
            }
        }
    }


def _read(name: str) -> dict[str, Any]:
    text = resources.files(_PACKAGE).joinpath(name).read_bytes()
    schema: dict[str, Any] = strict_json.parse(text, name)
    return schema

"""The options of models.toml. Every family declares its options in `cli.NAME` as a frozen dataclass `Options`."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ..artifacts.family import Family

ALLOW_PICKLE = "Accept pickled weights; they are loaded with weights_only."
IGNORE_CODE = "Build with transformers' own class if the model refers to code, which is never run."


def option(default: Any, help_text: str) -> Any:
    """Return a dataclass field with a default and the help text that the subcommand `export` displays for it."""
    return dataclasses.field(default=default, metadata={"help": help_text})


def with_options(command: Callable[..., None], fields: Mapping[str, dataclasses.Field[Any]]) -> Callable[..., None]:
    """Replace the parameter `**options` of a command with one command line option per field."""
    signature = inspect.signature(command, eval_str=True)
    own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    options = [_parameter(field) for field in fields.values()]
    command.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
    return command


def _parameter(field: dataclasses.Field[Any]) -> inspect.Parameter:
    flag = f"--{field.name.replace('_', '-')}"
    kind = _argument_type(str(field.type))
    annotation: Any = Annotated[kind, typer.Option(flag, help=field.metadata["help"])]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=annotation)


def _argument_type(annotation: str) -> Any:
    """Return the type of a command line option for the annotation of a field; a literal type becomes a string."""
    kinds: dict[str, Any] = {"bool": bool, "int": int | None, "float": float | None, "Path": Path | None}
    kinds |= {"list[str]": list[str] | None, "list[int]": list[int] | None}
    return kinds.get(annotation.removesuffix(" | None"), str | None)


def options_type(family: Family) -> type[Any]:
    """Return the dataclass `Options` that the module `cli.NAME` of a family declares."""
    kind: type[Any] = family.module("cli").Options
    return kind


def known_options(families: Iterable[Family]) -> dict[str, dataclasses.Field[Any]]:
    """Return the options of several families by name; an option has the same meaning in all of them."""
    return {field.name: field for family in families for field in dataclasses.fields(options_type(family))}


def read_options(family: Family, given: Mapping[str, Any]) -> Any:
    """Validate the options of a family and return its `Options`; strings are accepted for paths.

    :raises ValueError: naming all problems.
    """
    from pydantic import ConfigDict, ValidationError, create_model  # part of the extra [export], which a build requires

    kind = options_type(family)
    hints = typing.get_type_hints(kind)
    values = {
        name: Path(value) if isinstance(value, str) and Path in typing.get_args(hints.get(name)) else value
        for name, value in given.items()
    }
    fields: dict[str, Any] = {field.name: (hints[field.name], field.default) for field in dataclasses.fields(kind)}
    model = create_model(kind.__name__, __config__=ConfigDict(extra="forbid", strict=True), **fields)
    try:
        return kind(**dict(model(**values)))
    except ValidationError as error:
        problems = [f"options.{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise ValueError("; ".join(problems)) from error


def path_options(options: Any) -> dict[str, Path]:
    """Return the options whose values are paths, by option name."""
    return {name: value for name, value in vars(options).items() if isinstance(value, Path)}

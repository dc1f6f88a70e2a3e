"""models.toml: the models to build, their sources, options and gates."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from ..artifacts.constants import MAX_JSON_NUMBER
from ..artifacts.errors import BuildError
from ..artifacts.families import FAMILIES
from ..artifacts.family import Family, find_family, metrics_among
from ..artifacts.staging import BuildSettings
from .options import known_options, path_options, read_options

Model = TypeVar("Model", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ModelConfig(_Strict):
    """One `[[model]]` table of models.toml.

    `gate` has thresholds by variant and metric; they override the defaults of the family. The validation context of
    pydantic can have the key `families` with the families to accept; the default is all families.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,127}$")
    version: str = Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+-]{0,63}$")
    source: str
    weights_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    task: str
    variants: list[str] = []  # an empty list selects all variants of the family
    calibration: Path | None = None
    options: dict[str, Any] = {}
    gate: dict[str, dict[str, float]] = {}

    @field_validator("calibration", mode="before")
    @classmethod
    def _to_path(cls, value: object) -> object:
        return Path(value) if isinstance(value, str) else value

    @field_validator("gate")
    @classmethod
    def _check_thresholds(cls, gate: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        for variant, thresholds in gate.items():
            for metric, threshold in thresholds.items():
                if not abs(threshold) <= MAX_JSON_NUMBER:  # false for NaN; a manifest has no other numbers
                    raise ValueError(f"{variant}.{metric} is {threshold}, expected at most {MAX_JSON_NUMBER}")
        return gate

    @model_validator(mode="after")
    def _check(self, info: ValidationInfo) -> ModelConfig:
        families = _families(info.context)
        candidates = [family for family in families if family.task == self.task]
        if not candidates:
            raise ValueError(f"task {self.task!r} is not one of {', '.join(_tasks(families))}")
        self._check_variants(candidates)
        self._check_options(candidates)
        self._check_gates(candidates)
        return self

    def _check_variants(self, candidates: list[Family]) -> None:
        is_empty = "variants" in self.model_fields_set and not self.variants
        if is_empty or len(set(self.variants)) != len(self.variants):
            raise ValueError("variants must contain at least one variant and no duplicates")
        known = {name for family in candidates for name in family.all_gates}
        if unknown := sorted(set(self.variants) - known):
            raise ValueError(f"variant {unknown[0]!r} is not one of {', '.join(sorted(known))}")
        if unknown := sorted(set(self.gate) - set(self.variants or known)):
            raise ValueError(f"gate.{unknown[0]}: this variant is not built")

    def _check_options(self, candidates: list[Family]) -> None:
        known = known_options(candidates)
        if unknown := sorted(set(self.options) - set(known)):
            raise ValueError(f"option {unknown[0]!r} is not one of {', '.join(sorted(known))}")
        for family in candidates:
            own = known_options([family])
            read_options(family, {name: value for name, value in self.options.items() if name in own})

    def _check_gates(self, candidates: list[Family]) -> None:
        named = {figure for gate in self.gate.values() for figure in gate}
        metrics = {metric.name: metric for family in candidates for metric in metrics_among(family.metrics, named)}
        if unknown := sorted(named - set(metrics)):
            known = {metric.name for family in candidates for metric in family.metrics}
            raise ValueError(f"gate metric {unknown[0]!r} is not one of {', '.join(sorted(known))}")
        for name in sorted(named):
            needed, listed = metrics[name].needs_option, metrics[name].per_option
            if needed is not None and self.options.get(needed) is None:
                raise ValueError(f"gate metric {name} requires options.{needed}")
            if listed is not None and name.rpartition("_")[2] not in map(str, self.options.get(listed) or ()):
                raise ValueError(f"gate metric {name} requires {name.rpartition('_')[2]} in options.{listed}")

    def settings(self, engine: str, families: Iterable[Family] = FAMILIES) -> BuildSettings:
        """Return the build settings of this model: its family, variants, gates and options, with defaults filled in.

        :param engine: the engine that the model's source requires.
        :param families: the families that can be built.
        :raises BuildError: with the code `config` for variants or options that the family does not have.
        """
        families = tuple(families)
        family = find_family(self.task, engine, families)
        if family is None:
            engines = sorted(each.engine for each in families if each.task == self.task)
            raise self._error(f"a {engine} model for the task {self.task}", engines, engine)
        if unknown := sorted({*self.variants, *self.gate} - set(family.all_gates)):
            raise self._error(f"variants of a {engine} model", family.all_gates, ", ".join(unknown))
        own = known_options([family])
        if unknown := sorted(set(self.options) - set(own)):
            raise self._error(f"options of a {engine} model for {self.task}", sorted(own), ", ".join(unknown))
        variants = tuple(self.variants or family.gates)
        gates = {variant: {**family.all_gates[variant], **self.gate.get(variant, {})} for variant in variants}
        options = read_options(family, self.options)
        return BuildSettings(family, self.name, self.version, variants, gates, self.calibration, options)

    def _error(self, what: str, expected: Iterable[str], actual: str) -> BuildError:
        return BuildError("config", f"{self.name}: {what}", expected=" or ".join(expected), actual=actual)


class _File(_Strict):
    model: list[ModelConfig] = Field(min_length=1)


def read_models(path: Path, families: Iterable[Family] = FAMILIES) -> list[ModelConfig]:
    """Read models.toml; relative paths in it (calibration, options, `path:` sources) are relative to its folder.

    :raises BuildError: with the code `config`, naming all problems.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # RecursionError: nested too deeply
        raise BuildError("config", f"{path}: {error}") from error
    families = tuple(families)
    models = validate(_File, data, str(path), families).model
    names = [model.name for model in models]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise BuildError("config", f"{path}: several models have the name {', '.join(repeated)}")
    return [_from_folder(model, path.parent, families) for model in models]


def validate(kind: type[Model], data: object, where: str, families: Iterable[Family] = FAMILIES) -> Model:
    """Validate `data` against a pydantic model.

    :param where: the origin of the data for the error message.
    :raises BuildError: with the code `config`, naming all problems.
    """
    try:
        return kind.model_validate(data, context={"families": tuple(families)})
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc'])) or 'file'}: {item['msg']}" for item in error.errors()]
        raise BuildError("config", f"{where}: {'; '.join(problems)}") from error


def _families(context: Mapping[str, Any] | None) -> tuple[Family, ...]:
    return FAMILIES if context is None else context["families"]


def _tasks(families: Iterable[Family]) -> list[str]:
    return list(dict.fromkeys(family.task for family in families))


def _from_folder(model: ModelConfig, folder: Path, families: Iterable[Family]) -> ModelConfig:
    changes: dict[str, object] = {"options": model.options | _paths_below(model, folder, families)}
    if model.calibration is not None:
        changes["calibration"] = folder / model.calibration
    if model.source.startswith("path:"):
        changes["source"] = f"path:{folder / os.path.expanduser(model.source.removeprefix('path:'))}"  # noqa: PTH111 (keeps ~NAME if there is no such user)
    return model.model_copy(update=changes)


def _paths_below(model: ModelConfig, folder: Path, families: Iterable[Family]) -> dict[str, Path]:
    """Return those options of a model whose values are paths, with relative paths resolved against `folder`."""
    paths: dict[str, Path] = {}
    for family in families:
        if family.task == model.task:
            own = {name: value for name, value in model.options.items() if name in known_options([family])}
            paths |= path_options(read_options(family, own))
    return {name: folder / path for name, path in paths.items() if name in model.options}

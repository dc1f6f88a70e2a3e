"""models.toml: what to build, from what, and how exact it must be."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ..artifacts.errors import BuildError
from ..parity.compare import DEFAULT_GATES

DEFAULT_VARIANTS = ["fp32", "int8"]

Model = TypeVar("Model", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Options(_Strict):
    """Settings that a family of models may have."""

    allow_pickle: bool = False


class ModelConfig(_Strict):
    """One `[[model]]` table: what to build and the thresholds each variant must reach."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,127}$")
    version: str = Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+-]{0,63}$")
    source: str
    task: Literal["sentence-embedding"]
    variants: list[str] = DEFAULT_VARIANTS
    calibration: Path | None = None
    options: Options = Options()
    gate: dict[str, dict[str, float]] = {}

    @field_validator("calibration", mode="before")
    @classmethod
    def _to_path(cls, value: object) -> object:
        return Path(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_variants(self) -> ModelConfig:
        if not self.variants or len(set(self.variants)) != len(self.variants):
            raise ValueError("variants must name each variant once, and at least one")
        if unknown := sorted(set(self.variants) - set(DEFAULT_GATES)):
            raise ValueError(f"variant {unknown[0]!r} is not one of {', '.join(DEFAULT_GATES)}")
        if unknown := sorted(set(self.gate) - set(self.variants)):
            raise ValueError(f"gate.{unknown[0]} is for a variant that is not built")
        return self

    def gate_of(self, variant: str) -> dict[str, float]:
        """The thresholds of a variant: the defaults, overridden one by one."""
        return DEFAULT_GATES[variant] | self.gate.get(variant, {})


class _File(_Strict):
    model: list[ModelConfig] = Field(min_length=1)


def read_models(path: Path) -> list[ModelConfig]:
    """Read models.toml; relative calibration paths and `path:` sources start at its folder.

    :raises BuildError: with the code `config`, naming everything that is wrong at once.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BuildError("config", f"{path}: {error}") from error
    models = validate(_File, data, str(path)).model
    names = [model.name for model in models]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise BuildError("config", f"{path}: more than one model is called {', '.join(repeated)}")
    return [_from_folder(model, path.parent) for model in models]


def validate(kind: type[Model], data: object, where: str) -> Model:
    """Validate `data`, or raise `BuildError` with every problem found."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc'])) or 'file'}: {item['msg']}" for item in error.errors()]
        raise BuildError("config", f"{where}: {'; '.join(problems)}") from error


def _from_folder(model: ModelConfig, folder: Path) -> ModelConfig:
    changes: dict[str, object] = {}
    if model.calibration is not None:
        changes["calibration"] = folder / model.calibration
    if model.source.startswith("path:"):
        changes["source"] = f"path:{folder / Path(model.source.removeprefix('path:')).expanduser()}"
    return model.model_copy(update=changes)

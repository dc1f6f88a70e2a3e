"""models.toml: what to build, from what, and how exact it must be."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ..artifacts.constants import NER, SPACY, SUMMARIZATION, TRANSFORMERS
from ..artifacts.errors import BuildError
from ..parity.sentence_embedding.comparison import DEFAULT_GATES, FIGURES, REFERENCE_FIGURES

Model = TypeVar("Model", bound=BaseModel)

# The options that a family has beside those that all have.
_OPTIONS = {
    (NER, SPACY): {"sentences"},
    (NER, TRANSFORMERS): {"allow_pickle", "aggregation_strategy", "ignore_labels", "language", "stride"},
    (SUMMARIZATION, TRANSFORMERS): {"allow_pickle", "parity_inputs", "references"},
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Options(_Strict):
    """Settings that a family of models may have; None is the family's default."""

    allow_pickle: bool = False
    # Named entities from spaCy: which sentence starts count
    sentences: Literal["none", "given", "parser"] | None = None
    # Named entities from transformers: what a call does that says nothing else
    aggregation_strategy: Literal["none", "simple", "first", "average", "max"] | None = None
    stride: int | None = Field(default=None, ge=0)
    ignore_labels: list[str] | None = None
    language: str | None = None
    # Summaries: JSON lines of texts with the summaries they should have, which variants are measured against
    references: Path | None = None
    # Summaries: the most inputs that parity is judged on; all that there are take an hour with a large model
    parity_inputs: int | None = Field(default=None, ge=1)

    @field_validator("references", mode="before")
    @classmethod
    def _to_path(cls, value: object) -> object:
        return Path(value) if isinstance(value, str) else value


class ModelConfig(_Strict):
    """One `[[model]]` table: what to build and the thresholds each variant must reach."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,127}$")
    version: str = Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+-]{0,63}$")
    source: str
    task: Literal["sentence-embedding", "ner", "summarization"]
    variants: list[str] = []  # none named: all that the engine has
    calibration: Path | None = None
    options: Options = Options()
    gate: dict[str, dict[str, float]] = {}

    @field_validator("calibration", mode="before")
    @classmethod
    def _to_path(cls, value: object) -> object:
        return Path(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_variants(self) -> ModelConfig:
        is_empty = "variants" in self.model_fields_set and not self.variants
        if is_empty or len(set(self.variants)) != len(self.variants):
            raise ValueError("variants must name each variant once, and at least one")
        known = {name for (task, _), gates in DEFAULT_GATES.items() if task == self.task for name in gates}
        if unknown := sorted(set(self.variants) - known):
            raise ValueError(f"variant {unknown[0]!r} is not one of {', '.join(sorted(known))}")
        if unknown := sorted(set(self.gate) - set(self.variants or known)):
            raise ValueError(f"gate.{unknown[0]} is for a variant that is not built")
        return self

    @model_validator(mode="after")
    def _check_gates(self) -> ModelConfig:
        named = {figure for gate in self.gate.values() for figure in gate}
        if unknown := sorted(named - FIGURES[self.task]):
            raise ValueError(f"the gate names {unknown[0]!r}, no figure of {', '.join(sorted(FIGURES[self.task]))}")
        if self.options.references is None and (unmeasured := sorted(named & REFERENCE_FIGURES)):
            raise ValueError(f"the gate's {unmeasured[0]} needs options.references")
        return self

    def for_engine(self, engine: str) -> ModelConfig:
        """The same with everything filled in that follows from the engine of the model's source: variants and gates.

        :raises BuildError: with the code `config` for what the engine does not have.
        """
        defaults = DEFAULT_GATES.get((self.task, engine))
        if defaults is None:
            engines = sorted(name for task, name in DEFAULT_GATES if task == self.task)
            raise self._wrong(f"a {engine} model for the task {self.task}", engines, engine)
        if unknown := sorted({*self.variants, *self.gate} - set(defaults)):
            raise self._wrong(f"variants of a {engine} model", defaults, ", ".join(unknown))
        allowed = _OPTIONS.get((self.task, engine), {"allow_pickle"})
        if unknown := sorted(set(self.options.model_dump(exclude_defaults=True)) - allowed):
            raise self._wrong(f"options of a {engine} model for {self.task}", sorted(allowed), ", ".join(unknown))
        variants = self.variants or list(defaults)
        gates = {variant: defaults[variant] | self.gate.get(variant, {}) for variant in variants}
        return self.model_copy(update={"variants": variants, "gate": gates})

    def gate_of(self, variant: str) -> dict[str, float]:
        """The thresholds of a variant, once `for_engine` has filled them in."""
        return self.gate[variant]

    def _wrong(self, what: str, expected: Iterable[str], got: str) -> BuildError:
        return BuildError("config", f"{self.name}: {what}", expected=" or ".join(expected), got=got)


class _File(_Strict):
    model: list[ModelConfig] = Field(min_length=1)


def read_models(path: Path) -> list[ModelConfig]:
    """Read models.toml; relative paths in it (calibration, references, `path:` sources) start at its folder.

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
    if model.options.references is not None:
        references = folder / model.options.references
        changes["options"] = model.options.model_copy(update={"references": references})
    if model.source.startswith("path:"):
        changes["source"] = f"path:{folder / Path(model.source.removeprefix('path:')).expanduser()}"
    return model.model_copy(update=changes)

"""The manifest as dataclasses, parsed from JSON and written as canonical JSON."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from . import strict_json
from .constants import FORMAT_VERSION, MANIFEST, data_file
from .errors import ArtifactError
from .families import FAMILIES
from .family import UPGRADE, Family, require_family
from .manifest_sections import Section
from .schema import schema_validator

AnySection = TypeVar("AnySection", bound=Section)


@dataclass(frozen=True)
class Source:
    """The source of the original model.

    `weights_sha256` is the SHA-256 of the concatenated hexadecimal SHA-256 of the weight files, ordered by path.
    """

    kind: str
    id: str
    revision: str | None
    weights_sha256: str
    license: str | None


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph; a dimension is a number, or a name if it is dynamic."""

    name: str
    dtype: str
    dims: tuple[int | str, ...]


@dataclass(frozen=True)
class Graph:
    """One ONNX file: its path, its interface and the versions it requires."""

    file: str
    ir_version: int
    domains: dict[str, int]
    min_onnxruntime: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True)
class Calibration:
    """The calibration texts: their number, their tokens in total, and their hash."""

    texts: int
    tokens: int
    sha256: str


@dataclass(frozen=True)
class Quantization:
    """How a variant was quantized, and the measured error.

    `tables` names the quantized embedding tables. `layers` is the signal-to-quantization-noise ratio of every
    quantized product in dB. `error` has the error of the whole graph on the calibration texts, by metric.
    """

    scheme: str
    smoothing_alpha: float
    gelu_zero_point: int
    calibration: Calibration
    tables: tuple[str, ...]
    layers: dict[str, float]
    error: dict[str, float]


@dataclass(frozen=True)
class Variant:
    """One precision of the model: its graphs by role, its gate (thresholds by metric), and how it was quantized."""

    graphs: dict[str, Graph]
    gate: dict[str, float]
    quantization: Quantization | None


@dataclass(frozen=True)
class GoldenSpec:
    """The path of the file with the golden cases, and the number of cases."""

    file: str
    cases: int


@dataclass(frozen=True)
class Machine:
    """The machine on which metrics were measured."""

    cpu: str
    instruction_set: tuple[str, ...]
    threads: int


@dataclass(frozen=True)
class ParitySpec:
    """The metrics of every variant; `file` is the path of parity.json, `texts` is the number of inputs."""

    file: str
    texts: int
    machine: Machine
    variants: dict[str, dict[str, float]]


@dataclass(frozen=True)
class FileEntry:
    """The size of a file in bytes and its SHA-256 in hexadecimal."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The manifest of one artifact, as FORMAT.md and the schema define it.

    The constructor checks the rules that a JSON schema cannot express. `sections` has the sections of the artifact's
    family by key.
    """

    format_version: int
    task: str
    task_revision: int
    engine: str
    name: str
    version: str
    source: Source
    builder: dict[str, str]
    variants: dict[str, Variant]
    golden: GoldenSpec
    parity: ParitySpec
    files: dict[str, FileEntry]
    sections: Mapping[str, Section]

    def __post_init__(self) -> None:
        """Check the rules that a JSON schema cannot express.

        :raises ArtifactError: with the code `schema`, naming all problems.
        """
        problems = [f"{path} is referenced but not in files" for path in self.named_files() if path not in self.files]
        folded = Counter(path.casefold() for path in self.files)
        problems += [
            f"{path} differs from another path only in case" for path in self.files if folded[path.casefold()] > 1
        ]
        problems += [problem for section in self.sections.values() for problem in section.problems()]
        if problems:
            raise ArtifactError("schema", f"{MANIFEST} contradicts itself: {'; '.join(problems)}")

    def section(self, kind: type[AnySection]) -> AnySection:
        """Return the manifest section that is an instance of the dataclass `kind`.

        :raises ArtifactError: with the code `schema` if the manifest has none.
        """
        for section in self.sections.values():
            if isinstance(section, kind):
                return section
        raise ArtifactError("schema", f"{MANIFEST} has no section of the type {kind.__name__}")

    def named_files(self) -> list[str]:
        """Return the paths of all files that the manifest refers to outside of its field `files`."""
        graphs = [graph.file for variant in self.variants.values() for graph in variant.graphs.values()]
        return [*graphs, *self.preprocessor_files(), self.golden.file, self.parity.file]

    def preprocessor_files(self) -> list[str]:
        """Return the paths of the preprocessor (tokenizer, or rules and tables), which all variants share."""
        return [file for section in self.sections.values() for file in section.files()]

    def variant_bytes(self, variant: str) -> int:
        """Return the size in bytes of a variant's graphs and their external data."""
        files = [graph.file for graph in self.variants[variant].graphs.values()]
        return sum(self.files[name].size for name in [*files, *map(data_file, files)] if name in self.files)

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as JSON values; the sections are top-level keys."""
        fields = dataclasses.asdict(self)
        del fields["sections"]
        return fields | {key: section.to_json() for key, section in self.sections.items()}

    def to_bytes(self, families: Iterable[Family] = FAMILIES) -> bytes:
        """Return the manifest as canonical JSON.

        :raises ArtifactError: if the result is not a valid manifest.
        """
        raw = strict_json.canonical(self.to_json())
        parse_manifest(raw, families)  # raises for an invalid manifest, which then fails the build
        return raw


def parse_manifest(raw: bytes, families: Iterable[Family] = FAMILIES) -> Manifest:
    """Parse and check the bytes of a manifest.

    :param families: the families that this reader supports.
    :raises ArtifactError: with the code `json`, `format_version`, `unknown_task` or `schema`, in this order.
    """
    families = tuple(families)
    data = strict_json.parse(raw, MANIFEST)
    if not isinstance(data, dict):
        raise ArtifactError("json", f"{MANIFEST}", expected="a JSON object", actual=type(data).__name__)
    _check_format_version(data)
    family = _family(data, families)
    errors = [
        f"{'/'.join(map(str, error.instance_path)) or 'manifest'}: {error.message[:300]}"
        for error in schema_validator(families).iter_errors(data)
    ]
    if errors or family is None:
        raise ArtifactError("schema", f"{MANIFEST} does not satisfy its schema: {'; '.join(errors[:20])}")
    sections = {key: _typed(kind, data[key], key) for key, kind in family.sections.items() if key in data}
    common = {
        name: _typed(kind, data[name], name)
        for name, kind in typing.get_type_hints(Manifest).items()
        if name != "sections"
    }
    return Manifest(**common, sections=sections)


def _family(data: dict[str, Any], families: tuple[Family, ...]) -> Family | None:
    """Return the manifest's family; None if its task or engine is not a string, which the schema check reports."""
    task, engine, revision = data.get("task"), data.get("engine"), data.get("task_revision")
    if not isinstance(task, str) or not isinstance(engine, str):
        return None
    family = require_family(task, engine, families)
    if type(revision) is int and revision > family.revision:
        raise ArtifactError(
            "format_version",
            f"the artifact's revision of the task {task} is not supported",
            expected=f"task_revision up to {family.revision}",
            actual=revision,
            hint=UPGRADE,
        )
    return family


def _check_format_version(data: dict[str, Any]) -> None:
    version = data.get("format_version")
    if type(version) is not int or version > FORMAT_VERSION:
        raise ArtifactError(
            "format_version",
            "the artifact's format version is not supported",
            expected=f"format_version up to {FORMAT_VERSION}",
            actual=repr(version),
            hint=UPGRADE,
        )


def _typed(kind: Any, value: Any, where: str) -> Any:
    """Convert parsed JSON that satisfies the schema to `kind`: a dataclass, dict, tuple, optional or plain type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return typing.cast(Any, kind)(**{name: _typed(hints[name], value[name], f"{where}.{name}") for name in value})
    if origin is dict:
        return {key: _typed(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if origin is tuple:
        return tuple(_typed(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if origin in (types.UnionType, typing.Union):
        if value is None or dataclasses.is_dataclass(kind):
            return value
        kinds = [argument for argument in arguments if argument is not type(None)]
        return _typed(kinds[0], value, where) if len(kinds) == 1 else _either(kinds, value, where)
    if kind is float and type(value) in (int, float):
        return value
    return _either([kind], value, where)


def _either(kinds: list[Any], value: Any, where: str) -> Any:
    if type(value) not in kinds:  # JSON Schema accepts 1.0 as an integer, but typed readers (the Rust crate) do not
        names = " or ".join(kind.__name__ for kind in kinds)
        raise ArtifactError("schema", f"{where} in {MANIFEST}", expected=names, actual=repr(value))
    return value

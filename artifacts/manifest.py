"""The manifest as typed values, read from and written to canonical JSON."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from dataclasses import dataclass
from importlib import resources
from typing import Any, TypeVar

import jsonschema_rs

from . import strict_json
from .constants import FORMAT_VERSION, MANIFEST, TASK_REVISIONS, data_file
from .errors import ArtifactError
from .manifest_sections import EmbeddingSpec, SpacySpec, SummarizationSpec, TokenClassificationSpec, TokenizerSpec

# Sections of one task or engine: absent where they do not belong, never null.
SECTIONS = ("embedding", "spacy", "summarization", "token_classification", "tokenizer")
_Section = TypeVar("_Section")


@dataclass(frozen=True)
class Source:
    """Where the model came from.

    `weights_sha256` is the SHA-256 of the weight files' own SHA-256, in hexadecimal and in the order of their paths.
    """

    kind: str
    id: str
    revision: str | None
    weights_sha256: str
    license: str | None


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph; a dimension is a number, or a name where it varies."""

    name: str
    dtype: str
    dims: tuple[int | str, ...]


@dataclass(frozen=True)
class Graph:
    """One ONNX file and what it needs to run."""

    file: str
    ir_version: int
    domains: dict[str, int]
    min_onnxruntime: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True)
class Calibration:
    """The texts that activation ranges were measured on."""

    texts: int
    tokens: int
    sha256: str


@dataclass(frozen=True)
class Quantization:
    """How a variant was quantized and what it cost. `layers` is in dB of signal to quantization noise."""

    scheme: str
    smoothing_alpha: float
    gelu_zero_point: int
    calibration: Calibration
    tables: tuple[str, ...]
    layers: dict[str, float]
    error: dict[str, float]


@dataclass(frozen=True)
class Variant:
    """One precision of the model: its graphs by role, and the thresholds it was held to."""

    graphs: dict[str, Graph]
    gate: dict[str, float]
    quantization: Quantization | None


@dataclass(frozen=True)
class GoldenSpec:
    """The file of golden cases and how many it holds."""

    file: str
    cases: int


@dataclass(frozen=True)
class Machine:
    """Where figures were measured."""

    cpu: str
    instruction_set: tuple[str, ...]
    threads: int


@dataclass(frozen=True)
class ParitySpec:
    """The headline figures of every variant; the whole evidence is in `file`."""

    file: str
    texts: int
    machine: Machine
    variants: dict[str, dict[str, float]]


@dataclass(frozen=True)
class FileEntry:
    """Size in bytes and SHA-256 of a file."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The contract of one artifact, as FORMAT.md and the schema have it; constructing one looks for contradictions."""

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
    tokenizer: TokenizerSpec | None = None
    embedding: EmbeddingSpec | None = None
    token_classification: TokenClassificationSpec | None = None
    spacy: SpacySpec | None = None
    summarization: SummarizationSpec | None = None

    def __post_init__(self) -> None:
        """Check what a JSON schema cannot say, all of it at once."""
        problems = [f"{path} is named but not in files" for path in self.named_files() if path not in self.files]
        folded = [path.casefold() for path in self.files]
        problems += [
            f"{path} differs from another path in case alone"
            for path in self.files
            if folded.count(path.casefold()) > 1
        ]
        default = self.embedding.default_prompt if self.embedding else None
        if self.embedding and default is not None and default not in self.embedding.prompts:
            problems.append(f"default_prompt {default!r} is not in prompts")
        problems += self._length_problems()
        if problems:
            raise ArtifactError("schema", f"{MANIFEST} contradicts itself: {'; '.join(problems)}")

    def _length_problems(self) -> list[str]:
        if self.summarization is None:
            return []
        lengths, limit = self.summarization.defaults, self.summarization.max_target_tokens
        problems = [f"max_length {lengths.max_length} is beyond max_target_tokens {limit}"] * (
            lengths.max_length > limit
        )
        return problems + ["min_length is beyond max_length"] * (lengths.min_length > lengths.max_length)

    def named_files(self) -> list[str]:
        """Every path that a field other than `files` names."""
        graphs = [graph.file for variant in self.variants.values() for graph in variant.graphs.values()]
        return [*graphs, *self.text_files(), self.golden.file, self.parity.file]

    def text_files(self) -> list[str]:
        """The files that turn texts into the graphs' inputs: every variant needs them."""
        files = [self.tokenizer.file] if self.tokenizer else []
        return files + ([self.spacy.rules, self.spacy.tables] if self.spacy else [])

    def variant_bytes(self, variant: str) -> int:
        """Bytes of a variant's graphs and of the weights beside them."""
        files = [graph.file for graph in self.variants[variant].graphs.values()]
        return sum(self.files[name].size for name in [*files, *map(data_file, files)] if name in self.files)

    def to_bytes(self) -> bytes:
        """Canonical JSON, as it is sealed."""
        fields = dataclasses.asdict(self)
        absent = {key for key in SECTIONS if fields[key] is None}
        raw = strict_json.canonical({key: value for key, value in fields.items() if key not in absent})
        parse_manifest(raw)  # what is written can be read: a mistake of the builder shows here, not at the user's
        return raw


def section(value: _Section | None, name: str) -> _Section:
    """A section that the schema requires of the manifest's task and engine."""
    if value is None:  # parse_manifest has seen to it; a manifest put together by hand may lack it
        raise ArtifactError("schema", f"{MANIFEST} has no section {name}")
    return value


def parse_manifest(raw: bytes) -> Manifest:
    """Judge the bytes of a manifest and give it typed.

    :raises ArtifactError: with the code `json`, `format_version` or `schema`, in this order.
    """
    data = strict_json.parse(raw, MANIFEST)
    if not isinstance(data, dict):
        raise ArtifactError("json", f"{MANIFEST} holds no object", got=type(data).__name__)
    _check_versions(data)
    errors = [
        f"{'/'.join(map(str, error.instance_path)) or 'manifest'}: {error.message[:300]}"
        for error in schema_validator().iter_errors(data)
    ]
    if errors:
        raise ArtifactError("schema", f"{MANIFEST} breaks its schema: {'; '.join(errors[:20])}")
    return typing.cast(Manifest, _typed(Manifest, data, "manifest"))


@functools.cache
def schema_validator() -> jsonschema_rs.Draft202012Validator:
    """The validator of manifest.schema.json; the Rust crate uses the same engine and the same file."""
    text = resources.files(__package__).joinpath("manifest.schema.json").read_text(encoding="utf-8")
    return jsonschema_rs.Draft202012Validator(strict_json.parse(text.encode(), "manifest.schema.json"))


def _check_versions(data: dict[str, Any]) -> None:
    found = data.get("format_version")
    if type(found) is not int or found > FORMAT_VERSION:
        raise ArtifactError(
            "format_version",
            "the artifact's format is not known here",
            expected=f"format_version up to {FORMAT_VERSION}",
            got=repr(found),
            hint="Upgrade onnx-ml-bridge, or build the artifact again with this version.",
        )
    task, revision = data.get("task"), data.get("task_revision")
    known = TASK_REVISIONS.get(task) if isinstance(task, str) else None
    if known is not None and type(revision) is int and revision > known:
        raise ArtifactError(
            "format_version",
            f"the artifact's revision of the task {task} is not known here",
            expected=f"task_revision up to {known}",
            got=revision,
            hint="Upgrade onnx-ml-bridge, or build the artifact again with this version.",
        )


def _typed(kind: Any, value: Any, where: str) -> Any:
    """Turn parsed JSON into `kind`: a dataclass, dict, tuple, optional or plain type. The schema has passed before."""
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
    if type(value) not in kinds:  # JSON Schema takes 1.0 for an integer; a typed reader in another language does not
        names = " or ".join(kind.__name__ for kind in kinds)
        raise ArtifactError("schema", f"{where} in {MANIFEST}", expected=names, got=repr(value))
    return value

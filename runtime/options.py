"""What a caller passes to open models, and what an open model says of itself."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from ..artifacts.errors import ConfigError
from ..artifacts.store.locate import is_name_in_store
from .answers import ONNX, Location
from .cancellation import check_timeout
from .devices import AUTO as AUTO
from .devices import parse_devices

StrPath: TypeAlias = str | os.PathLike[str]
# Maximum number of threads of a model, and of its runs at the same time
MAX_THREADS = 1024
# Maximum number of calls that wait for one model
DEFAULT_MAX_WAITING = 1024
# Maximum size of a text in bytes of UTF-8
DEFAULT_TEXT_LIMIT = 1_000_000
# Maximum number of token positions in all beams of one run: texts x num_beams x max_length
DEFAULT_BEAM_LIMIT = 8192


class Task(StrEnum):
    """A task, by the name that the API and bridge.toml use."""

    EMBEDDING = "embedding"
    NER = "ner"
    SUMMARIZATION = "summarization"
    RERANK = "rerank"

    @property
    def manifest_name(self) -> str:
        """The name of the task in manifests and models.toml."""
        return _MANIFEST_NAMES.get(self, self.value)

    @classmethod
    def of_manifest(cls, name: str) -> Task | None:
        """Return the task with this name in manifests; None if the API has no calls for it."""
        return next((task for task in cls if task.manifest_name == name), None)


_MANIFEST_NAMES = {Task.EMBEDDING: "sentence-embedding"}


@dataclass(frozen=True)
class Model:
    """A model to open.

    `path` is the folder of its artifact, or its name in a store, such as `store:minilm@1.2.0`, which is pulled. `name`
    is the name that selects it in calls; None uses the name in the manifest. `variant` is a name such as `fp32` or
    `int8`; `auto` selects `int8` if the artifact has it and 8-bit products are exact and fast on this CPU, else `fp32`;
    on other devices `fp16` if the artifact has it, else `fp32`. `timeout` is the time limit in seconds of calls that
    pass none; None uses that of the `BridgeOptions`.

    `device` is `cpu`, `cuda`, `tensorrt`, `migraphx` (or `rocm`), `coreml`, `directml` or `openvino`, with an index as
    in `cuda:1` or a type as in `openvino:GPU`; or an execution provider of ONNX Runtime by its full name, which is
    untested. `auto` uses a GPU if one works (`cuda`, `migraphx` or `directml`), else the CPU. Several devices,
    separated by commas, take turns.

    `identity` is the SHA-256 of manifest.json that the artifact must have, in hexadecimal; None accepts any. `preload`
    loads the graphs when the model is opened, not in the first call. `idle_unload` is the number of seconds without a
    call after which the graphs are freed; None keeps them.

    `workers` is the maximum number of runs at the same time; None uses one per thread on the CPU (for summaries at most
    2), on other devices one per device, for spaCy's small graphs one per CPU, at most 4. A run of a longer text than
    `run_tokens` counts as several. `run_tokens` is the maximum number of tokens of a run, including padding; None uses
    512, for spaCy models and summaries 2,048, and a single longer text runs alone. `merge` runs inputs of waiting calls
    together, which changes scores and vectors by rounding, about 1e-7. `max_tokens` truncates texts earlier than the
    model does; None uses the model's limit. `space` names the space of an embedding model's vectors: models of the same
    space may replace each other in a chain.
    """

    path: StrPath
    name: str | None = None
    variant: str = AUTO
    device: str = AUTO
    timeout: float | None = None
    identity: str | None = None
    preload: bool = False
    idle_unload: float | None = None
    workers: int | None = None
    run_tokens: int | None = None
    max_tokens: int | None = None
    merge: bool = True
    space: str | None = None


@dataclass(frozen=True, kw_only=True)
class BridgeOptions:
    """Options for all models of a bridge, or for a handle that is opened alone.

    `threads` is the number of threads of a model on the CPU; None uses all CPUs that this process may use. A run that
    is alone uses all of them, and runs at the same time use one each. `memory_mb` is the maximum memory of all loaded
    models in MiB, which unloads the models that were idle longest; None is no limit. `max_waiting` is the maximum
    number of calls that wait for one model; more are refused. `text_limit` is the maximum size of a text in bytes of
    UTF-8; for messages to summarize, of the joined messages. `beam_limit` is the maximum of texts x `num_beams` x
    `max_length` of one run of a summarizer. `timeout` is the time limit in seconds of calls that pass none; None is no
    limit. `store` is the address of the store of models whose path is a name in it, a folder or a URL with s3, gs, az
    or https; None uses ONNX_ML_BRIDGE_STORE. `trusted_keys` are paths of public keys in PEM (P-256), one of which must
    have signed an artifact, and a tag of a store; without keys, nothing is checked. `local_only` refuses to open models
    that are not on this machine, with the code `not_local`; so does the environment variable
    ONNX_ML_BRIDGE_LOCAL_ONLY=1.
    """

    threads: int | None = None
    memory_mb: int | None = None
    max_waiting: int = DEFAULT_MAX_WAITING
    text_limit: int = DEFAULT_TEXT_LIMIT
    beam_limit: int = DEFAULT_BEAM_LIMIT
    timeout: float | None = None
    store: StrPath | None = None
    trusted_keys: Sequence[StrPath] = ()
    local_only: bool = False


@dataclass(frozen=True)
class ModelInfo:
    """An open model: the name that selects it in calls, its task, and its artifact.

    `engine`, `version` and `variant` are those of the manifest. `identity` is the SHA-256 of manifest.json in
    hexadecimal; None for a model that is not sealed yet. `device` is the device that was chosen. `providers` has the
    execution providers that run the nodes of the loaded graphs, and the number of nodes of each, as a profiled run
    counted them when the graphs were loaded; None if the session has no provider except the CPU's, which then runs all.
    It is empty before the graphs are loaded.

    `backend` is what answers calls: `onnx`, or another backend by its kind, or by its name in bridge.toml. `location`
    is where the model runs, `space` the space that was declared for its vectors. For another backend, `engine` is its
    kind, `variant` the name of the model at the server or of the file, `identity` the SHA-256 of the file, `path` the
    address or the file, and `device` `cpu` for a file, the location for a model of a server, and empty for a chain.
    """

    name: str
    task: Task
    engine: str
    version: str
    variant: str
    identity: str | None
    path: str
    device: str = "cpu"
    providers: Mapping[str, int | None] = field(default_factory=dict, hash=False)
    backend: str = ONNX
    location: Location = Location.PROCESS
    space: str | None = None


def check_limits(**limits: int | None) -> None:
    """Raise `ConfigError` for a limit that is not an integer of at least 1; None is allowed and means the default.

    `threads` and `workers` are at most `MAX_THREADS`.
    """
    for name, value in limits.items():
        if value is not None and (type(value) is not int or value < 1):
            raise ConfigError(name, expected="an integer, at least 1", actual=repr(value))
        if value is not None and name in ("threads", "workers") and value > MAX_THREADS:
            raise ConfigError(name, expected=f"an integer, at most {MAX_THREADS}", actual=repr(value))


def as_model(model: StrPath | Model) -> Model:
    """Return a model as it is, and a path as a model with the default values.

    A relative path becomes absolute, so that later loads find the files in another working directory too.

    :raises ConfigError: if a field is invalid.
    """
    model = model if isinstance(model, Model) else Model(model)
    if not isinstance(model.path, (str, os.PathLike)):
        raise ConfigError("path", expected="the folder of an artifact", actual=repr(model.path))
    if model.name is not None and (not isinstance(model.name, str) or not model.name):
        raise ConfigError("name", expected="a name that is not empty", actual=repr(model.name))
    if not isinstance(model.variant, str):
        raise ConfigError("variant", expected="a name such as auto, fp32 or int8", actual=repr(model.variant))
    parse_devices(model.device)
    if model.identity is not None and not (
        isinstance(model.identity, str) and re.fullmatch("[0-9a-f]{64}", model.identity)
    ):
        raise ConfigError("identity", expected="64 hexadecimal digits in lower case", actual=repr(model.identity))
    _check_flags(preload=model.preload, merge=model.merge)
    check_limits(workers=model.workers, run_tokens=model.run_tokens, max_tokens=model.max_tokens)
    check_timeout(model.timeout)
    check_timeout(model.idle_unload, "idle_unload")
    check_space(model.space)
    return model if is_name_in_store(model.path) else replace(model, path=Path(model.path).absolute())


def check_space(space: object) -> None:
    """Raise `ConfigError` unless the name of a space of vectors is None or a string that is not empty."""
    if space is not None and (not isinstance(space, str) or not space):
        raise ConfigError("space", expected="a name that is not empty", actual=repr(space))


def _check_flags(**flags: bool) -> None:
    for name, value in flags.items():
        if type(value) is not bool:
            raise ConfigError(name, expected="True or False", actual=repr(value))


def check_bridge_options(options: BridgeOptions) -> None:
    """Raise `ConfigError` if a field is invalid."""
    limits = ("threads", "memory_mb", "max_waiting", "text_limit", "beam_limit")
    check_limits(**{name: getattr(options, name) for name in limits})
    check_timeout(options.timeout)
    _check_flags(local_only=options.local_only)
    if options.store is not None and not isinstance(options.store, (str, os.PathLike)):
        raise ConfigError("store", expected="the address of a store", actual=repr(options.store))
    # Each character of a path would be one
    if isinstance(options.trusted_keys, (str, os.PathLike)) or not isinstance(options.trusted_keys, Iterable):
        raise ConfigError("trusted_keys", expected="a list of paths", actual=repr(options.trusted_keys))

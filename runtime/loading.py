"""Open an artifact: check it as FORMAT.md requires of `open`, and choose a variant. No graph is loaded here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Protocol, TypeVar, cast

from ..artifacts.checks import Artifact, check_hashes, check_variant, read_artifact
from ..artifacts.errors import ArtifactError, ConfigError
from ..artifacts.families import FAMILIES
from ..artifacts.family import Family
from ..artifacts.manifest import Manifest
from ..artifacts.manifest_sections import TokenizerSpec
from ..artifacts.store.locate import local_folder
from ..artifacts.trust.enforced import check_signed
from ..artifacts.trust.keys import PublicKey, read_keys
from . import cpu
from .device_selection import select_devices
from .devices import Devices
from .lane import LaneOptions
from .local_only import check_local_store
from .options import AUTO, BridgeOptions, Model, StrPath
from .tokenizer import TextTokenizer

# The hint in the error message for a variant whose answers to the golden cases miss its gate.
OTHER_RESULTS = "This CPU or this ONNX Runtime computes differently from the builder's; do not use the variant."
# The type of the object that turns texts into a graph's inputs: a tokenizer, or the rules and tables of a spaCy model.
Preprocessor = TypeVar("Preprocessor")
# The type of a golden case.
AnyCase = TypeVar("AnyCase")
# The values of a family's metrics, by name; None if a metric does not apply.
Figures = dict[str, float | None]
# A function that a replay calls with the number of golden cases that it has finished.
Report = Callable[[int], None]


@dataclass(frozen=True)
class OpenArtifact(Generic[Preprocessor]):
    """A checked artifact, the variant and the devices chosen for it, and the preprocessor that all variants share.

    `lane` tells how the runs of the variant are scheduled.
    """

    artifact: Artifact
    variant: str
    preprocessor: Preprocessor
    devices: Devices = field(default_factory=Devices)
    lane: LaneOptions = field(default_factory=LaneOptions)


class FamilyRuntime(Protocol):
    """The interface of the module `runtime.NAME` of a family."""

    def load_preprocessor(self, artifact: Artifact) -> Any:
        """Load the preprocessor of an artifact.

        :raises ArtifactError: with the code `tokenizer` if its files are invalid.
        """

    def open_model(self, opened: OpenArtifact[Any], options: BridgeOptions, name: str | None = None) -> Any:
        """Create the handle of the opened variant; its graphs are loaded by the first call.

        :param name: the name of the model; None uses the name in its manifest.
        """

    def replay(self, opened: OpenArtifact[Any], cases: Sequence[Any], threads: int, report: Report) -> Figures:
        """Load the graphs, run golden cases one by one and return the values of the family's metrics.

        :param report: see `reporting`; `verify` stops a replay that reports nothing for a long time.
        :raises ArtifactError: with the code `golden` if the answers are outside of the variant's gate.
        """


def reporting(cases: Sequence[AnyCase], report: Report) -> Iterator[AnyCase]:
    """Yield the cases of a replay whose graphs are loaded, and report how many are finished: first 0, at last all."""
    for done, case in enumerate(cases):
        report(done)
        yield case
    report(len(cases))


def runtime_of(family: Family) -> FamilyRuntime:
    """Import and return the runtime module of a family."""
    return cast(FamilyRuntime, family.module("runtime"))


def open_artifact(
    root: StrPath,
    variant: str = AUTO,
    *,
    device: str = AUTO,
    identity: str | None = None,
    max_tokens: int | None = None,
    keys: Iterable[PublicKey] = (),
    families: Iterable[Family] = FAMILIES,
) -> OpenArtifact[Any]:
    """Check an artifact and choose a variant.

    :param variant: the name of a variant, or `auto` (see `choose_variant`).
    :param device: the devices that run it; see `device_selection.select_devices`.
    :param identity: the identity that the artifact must have; None accepts any.
    :param max_tokens: a lower limit on the tokens of a text than that of the artifact; None uses the artifact's.
    :param keys: the artifact must be signed by one of them; without any key, it is trusted.
    :param families: the known families.
    :raises ArtifactError: with the code of the first check that fails; `identity` if it is another artifact.
    :raises ConfigError: if the model does not support the limit.
    """
    artifact = read_artifact(root, families)
    if identity not in (None, artifact.identity):
        raise ArtifactError("identity", f"{root} is another artifact", expected=identity, actual=artifact.identity)
    check_signed(artifact, keys)
    devices = select_devices(device)
    chosen = choose_variant(artifact, variant, devices)
    check_hashes(artifact, artifact.manifest.preprocessor_files())
    if chosen in artifact.manifest.variants:
        check_variant(artifact, chosen)
    preprocessor = _load_preprocessor(artifact, max_tokens)
    artifact.variant(chosen)  # raises for an unknown variant, which is the last check in the order of FORMAT.md
    return OpenArtifact(artifact, chosen, preprocessor, devices)


def _load_preprocessor(artifact: Artifact, max_tokens: int | None) -> Any:
    """Load the preprocessor of an artifact, which truncates texts to `max_tokens` tokens."""
    load = runtime_of(artifact.family).load_preprocessor
    if max_tokens is None:
        return load(artifact)
    limited = replace(artifact, manifest=_with_max_tokens(artifact.manifest, max_tokens))
    try:
        return load(limited)
    except ArtifactError as error:
        load(artifact)  # raises if the tokenizer itself is invalid, otherwise the limit is
        raise ConfigError(
            "max_tokens", expected="space for text beside the special tokens", actual=max_tokens
        ) from error


def _with_max_tokens(manifest: Manifest, max_tokens: int) -> Manifest:
    """Return a manifest whose tokenizer has a lower limit.

    :raises ConfigError: if the limit is above the model's, or if the model has none.
    """
    found = [(key, each) for key, each in manifest.sections.items() if isinstance(each, TokenizerSpec)]
    if not found:
        raise ConfigError("max_tokens", expected=f"none, because {manifest.name} has no limit", actual=max_tokens)
    ((key, spec),) = found
    if max_tokens > spec.max_tokens:
        raise ConfigError("max_tokens", expected=f"at most {spec.max_tokens}", actual=max_tokens)
    return replace(manifest, sections={**manifest.sections, key: replace(spec, max_tokens=max_tokens)})


def open_model(
    model: Model, options: BridgeOptions, families: Iterable[Family] = FAMILIES
) -> tuple[Any, OpenArtifact[Any]]:
    """Check an artifact and create the handle of one of its variants; its graphs are loaded by the first call.

    An artifact of a store is pulled first.

    :param families: the known families.
    :returns: the handle of the artifact's task, such as an `Embedder`, and the artifact.
    :raises BackendError: with the code `not_local`; see `BridgeOptions.local_only`.
    :raises StoreError: if the store has no such artifact, or cannot be read.
    :raises ArtifactError: with the code of the first check that fails; `signature` if no trusted key signed it.
    """
    keys = read_keys(options.trusted_keys)
    check_local_store(model.path, options.store, local_only=options.local_only)
    opened = open_artifact(
        local_folder(model.path, options.store, identity=model.identity, keys=keys),
        model.variant,
        device=model.device,
        identity=model.identity,
        max_tokens=model.max_tokens,
        keys=keys,
        families=families,
    )
    lane = LaneOptions(
        workers=model.workers, run_tokens=model.run_tokens, merge=model.merge, max_waiting=options.max_waiting
    )
    opened = replace(opened, lane=lane)
    if model.timeout is not None:
        options = replace(options, timeout=model.timeout)
    return runtime_of(opened.artifact.family).open_model(opened, options, model.name), opened


def load_tokenizer(artifact: Artifact) -> TextTokenizer:
    """Return the tokenizer of an artifact whose manifest has the section `tokenizer`."""
    spec = artifact.manifest.section(TokenizerSpec)
    return TextTokenizer(artifact.path(spec.file), spec)


def choose_variant(artifact: Artifact, variant: str, devices: Devices | None = None) -> str:
    """Return the name of the variant to use.

    On the CPU, `auto` selects int8 if 8-bit products are exact on it, else fp32, else the first variant by name. On
    other devices it selects fp16, else fp32, else the first one by name that is not int8; only int8 is not enough.
    """
    names = sorted(artifact.manifest.variants)
    if variant != AUTO:
        return variant
    if devices is None or devices.is_cpu:
        preferred = ("int8", "fp32", *names) if cpu.has_exact_int8() else ("fp32", *names)
    else:
        preferred = ("fp16", "fp32", *(name for name in names if name != "int8"))
    return next((name for name in preferred if name in names), "fp32")

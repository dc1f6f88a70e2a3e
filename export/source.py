"""Resolves `hub:ID@REVISION`, `path:DIR` or `package:MODULE[/SUB/DIR]` to a local folder that is safe to load."""

from __future__ import annotations

import configparser
import glob
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..artifacts.checks import sha256_file
from ..artifacts.constants import SPACY, TRANSFORMERS
from ..artifacts.errors import BuildError
from ..artifacts.manifest import Source
from .remote_code import find_code

_FORMS = "hub:ID@REVISION, path:DIR or package:MODULE[/SUB/DIR]"
_HUB_PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model", "README.md"]
_SPACY_CONFIG, _GLINER_CONFIG = "config.cfg", "gliner_config.json"
# The engines of models with a configuration of their own; the others have config.json and are those of transformers
_ENGINES = {_SPACY_CONFIG: SPACY, _GLINER_CONFIG: "gliner"}
_SPACY_PATTERNS = [_SPACY_CONFIG, "tokenizer", "vocab/*"]
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


@dataclass(frozen=True)
class LocalModel:
    """The local folder of a model, its source as the manifest describes it, and the ignored references to code."""

    folder: Path
    source: Source
    ignored_code: tuple[str, ...] = ()

    @property
    def engine(self) -> str:
        """The library of the model: spaCy or GLiNER if the folder has the configuration of one, else transformers."""
        return next((name for file, name in _ENGINES.items() if (self.folder / file).is_file()), TRANSFORMERS)


def resolve_source(
    text: str, *, allow_pickle: bool = False, ignore_code: bool = False, weights_sha256: str | None = None
) -> LocalModel:
    """Find the model, download it if its source is the hub, and refuse it if it is not safe to load.

    :param text: `hub:ID@REVISION`, `path:DIR` or `package:MODULE[/SUB/DIR]`.
    :param allow_pickle: whether weights may be pickled files.
    :param ignore_code: whether the model may refer to code, which is then ignored.
    :param weights_sha256: the hash that the weights must have (`Source.weights_sha256`); None accepts any.
    :raises BuildError: with the code `source` or `unsafe_checkpoint`.
    """
    local = _resolve(text, allow_pickle=allow_pickle, ignore_code=ignore_code)
    if weights_sha256 not in (None, local.source.weights_sha256):
        raise BuildError(
            "source",
            f"the weights of {text} are not those that weights_sha256 pins",
            expected=weights_sha256,
            actual=local.source.weights_sha256,
            hint="Name the revision with these weights, or check the new ones and change the pin.",
        )
    return local


def _resolve(text: str, *, allow_pickle: bool, ignore_code: bool) -> LocalModel:
    kind, _, rest = text.partition(":")
    resolvers = {"hub": _from_hub, "path": _from_path, "package": _from_package}
    if kind not in resolvers or not rest:
        raise BuildError("source", f"source {text!r}", expected=_FORMS)
    folder, identifier, revision = resolvers[kind](rest, allow_pickle)
    if (pipeline := _spacy_folder(folder)) is not None:
        files = sorted(path for path in pipeline.rglob("*") if path.is_file())
        return LocalModel(pipeline, Source(kind, identifier, revision, _digest(files), _spacy_license(pipeline)))
    # A pipeline of static embeddings has no config.json
    if not any((folder / file).is_file() for file in ("config.json", "modules.json", _GLINER_CONFIG)):
        raise BuildError(
            "source",
            f"{text} has none of config.json, modules.json, config.cfg and {_GLINER_CONFIG}",
            hint="Name the folder that contains the model's files.",
        )
    folders = _module_folders(folder)
    ignored = _ignored_code(folder, ignore_code=ignore_code)
    weights = _check_weights(folder, folders, allow_pickle)
    return LocalModel(folder, Source(kind, identifier, revision, _digest(weights), _license(folder)), ignored)


def _digest(files: Iterable[Path]) -> str:
    return hashlib.sha256("".join(sha256_file(path) for path in files).encode()).hexdigest()


def _spacy_folder(folder: Path) -> Path | None:
    """Return the folder of a spaCy pipeline; None without exactly one candidate.

    A candidate is `folder` or a direct subfolder, because the Python package of a pipeline has the pipeline in a
    subfolder.
    """
    candidates = [folder, *sorted(path.parent for path in folder.glob(f"*/{_SPACY_CONFIG}"))]
    pipelines = [path for path in candidates if (path / _SPACY_CONFIG).is_file()]
    return pipelines[0] if len(pipelines) == 1 else None


def _spacy_license(folder: Path) -> str | None:
    try:
        named = json.loads((folder / "meta.json").read_text(encoding="utf-8")).get("license")
    except (OSError, ValueError, AttributeError) as error:
        raise BuildError("source", f"meta.json of {folder.name} cannot be read: {error!r}") from error
    return str(named) if named else None


def _from_hub(rest: str, allow_pickle: bool) -> tuple[Path, str, str]:
    from .hub import download  # huggingface_hub is imported only for this kind of source

    identifier, _, revision = rest.partition("@")
    patterns = [*_HUB_PATTERNS, *_SPACY_PATTERNS, *(_PICKLED if allow_pickle else ())]
    folder = download(identifier, revision or None, patterns)
    commit = folder.name  # the hub's cache names the folder after the commit
    if (folder / _SPACY_CONFIG).is_file():
        download(identifier, commit, _component_patterns(folder / _SPACY_CONFIG))
    return folder, identifier, commit


def _component_patterns(path: Path) -> list[str]:
    """Return the patterns of the files of all components that config.cfg names: `NAME`, `NAME.*` and `NAME/*`.

    :raises BuildError: with the code `source` if it cannot be read.
    """
    config = configparser.RawConfigParser()
    try:
        config.read_string(path.read_text(encoding="utf-8"))
        names = json.loads(config.get("nlp", "pipeline", fallback="[]"))
        return [f"{glob.escape(name)}{end}" for name in names for end in ("", ".*", "/*")]
    except (OSError, ValueError, TypeError, RecursionError, configparser.Error) as error:
        raise BuildError("source", f"the components in config.cfg cannot be read: {error!r}") from error


def _from_path(rest: str, allow_pickle: bool) -> tuple[Path, str, None]:
    folder = Path(os.path.expanduser(rest))  # noqa: PTH111 (keeps ~NAME if there is no such user)
    if not folder.is_dir():
        raise BuildError("source", f"{rest} is not a directory")
    return folder, folder.resolve().name, None  # only the folder's name, because artifacts contain no paths


def _from_package(rest: str, allow_pickle: bool) -> tuple[Path, str, str | None]:
    module, _, sub = rest.partition("/")
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # raised for a missing parent package and for an empty name
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise BuildError(
            "source", f"no package {module!r} is installed", hint="Install the package that contains the model."
        )
    folder = Path(next(iter(spec.submodule_search_locations)), sub)
    if not folder.is_dir():
        raise BuildError("source", f"the package {module} has no folder {sub!r}")
    distributions = importlib.metadata.packages_distributions().get(module, [])
    return folder, rest, importlib.metadata.version(distributions[0]) if distributions else None


def _check_weights(folder: Path, folders: Sequence[Path], allow_pickle: bool) -> list[Path]:
    """Return the weight files in the folders of a model, ordered by path.

    These are files of safetensors; in folders without any, pickled files.
    """
    weights = [path for each in folders for path in each.glob("*.safetensors")]
    safe = {path.parent for path in weights}
    # Pickled weights in a folder with safetensors files are another copy of the same weights, which is not loaded
    pickled = [path for each in folders if each not in safe for pattern in _PICKLED for path in each.glob(pattern)]
    if pickled and not allow_pickle:
        raise BuildError(
            "unsafe_checkpoint",
            f"weights exist only as pickled files: {', '.join(str(path.relative_to(folder)) for path in pickled)}",
            expected="*.safetensors",
            hint="Convert them, or allow pickled weights (loaded with weights_only) if you trust their origin.",
        )
    if not weights and not pickled:
        raise BuildError("source", f"{folder.name} has no weights", expected="*.safetensors")
    return sorted([*weights, *pickled])


def _module_folders(folder: Path) -> list[Path]:
    """Return the folders that weights are loaded from: the model's own, and those of the modules in modules.json.

    :raises BuildError: with the code `source` if modules.json names a folder outside of the model.
    """
    listing = folder / "modules.json"
    try:
        modules = json.loads(listing.read_text(encoding="utf-8")) if listing.is_file() else []
        paths = [str(module["path"]) for module in modules]
        outside = [path for path in paths if not _is_inside(folder, path)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BuildError("source", f"modules.json cannot be read: {error!r}") from error
    if outside:
        raise BuildError("source", f"modules.json names folders outside of the model: {', '.join(outside)}")
    return sorted({folder, *(folder / path for path in paths)})


def _is_inside(folder: Path, path: str) -> bool:
    """Return whether the path of a module is relative and inside the model's folder; an empty path is the folder.

    Links of files may leave the folder, because the cache of the hub has them; links of folders may not.
    """
    parts = PurePosixPath(path.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or ":" in path:
        return False
    try:
        return (folder / path).resolve().is_relative_to(folder.resolve())
    except RuntimeError:  # an endless chain of links
        return False


def _ignored_code(folder: Path, *, ignore_code: bool) -> tuple[str, ...]:
    """Return the references to code that the build ignores.

    :raises BuildError: with the code `unsafe_checkpoint` if there are any and they may not be ignored.
    """
    references = [str(reference) for reference in find_code(folder) if not reference.is_ported]
    if references and not ignore_code:
        raise BuildError(
            "unsafe_checkpoint",
            f"{', '.join(references)} refers to code of the model",
            hint="Code of models is never run. The option ignore_code of sentence embeddings and token classifiers "
            "selects transformers' own class of the model_type, whose answers can differ from those of the code.",
        )
    return tuple(references)


def _license(folder: Path) -> str | None:
    """Return the license in the front matter of the model card, or None."""
    card = folder / "README.md"
    if not card.is_file():
        return None
    front = re.match(r"---\n(.*?)\n---", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    named = re.search(r"^license:\s*(\S+)\s*$", front.group(1), re.MULTILINE) if front else None
    return named.group(1) if named else None

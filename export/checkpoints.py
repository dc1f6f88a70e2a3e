"""Loads checkpoints of transformers for all families: only safe weights, in float32. Failures become `BuildError`."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from transformers import AutoTokenizer
from transformers.models.auto.auto_mappings import CONFIG_MAPPING_NAMES

from ..artifacts.errors import BuildError
from .dropped_heads import head_weights
from .remote_code import without_code

# Arguments of `from_pretrained`: code of the model is never run, and nothing is downloaded
_SAFE: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
# The output of a pooler is part of no graph but those of rerankers, so its weights may be missing or unused
_POOLER = "pooler"
_SHOWN_WEIGHTS = 8


def model_arguments(*, allow_pickle: bool) -> dict[str, Any]:
    """Return the arguments of `from_pretrained` for a model to export: float32, and attention that is not fused."""
    arguments: dict[str, Any] = {"attn_implementation": "eager", "dtype": torch.float32}
    return arguments if allow_pickle else {**arguments, "use_safetensors": True}


@contextmanager
def typed_errors(folder: Path, library: str) -> Iterator[None]:
    """Convert exceptions of a library that loads a model in this context.

    :param folder: the folder of the model.
    :param library: the name of the library for the error message.
    :raises BuildError: with the code `unsafe_checkpoint` or `source`.
    """
    try:
        yield
    except UnpicklingError as error:  # torch loads with `weights_only`, which allows only tensors
        raise BuildError(
            "unsafe_checkpoint",
            f"the pickled weights of {folder.name} contain more than weights",
            expected="only tensors",
            hint="Do not use this checkpoint.",
        ) from error
    except Exception as error:  # the libraries raise exceptions of any class for missing, damaged or unrelated files
        raise BuildError("source", f"{library} cannot load {folder.name}: {error}") from error


def load_checkpoint(
    model_class: Any, folder: Path, purpose: str, *, allow_pickle: bool, needs_pooler: bool = False
) -> tuple[Any, Any]:
    """Load a model in evaluation mode and its tokenizer.

    :param model_class: a model class of transformers, or an `Auto` class.
    :param purpose: the task that the checkpoint must be trained for, used in error messages.
    :param needs_pooler: whether the weights of a pooler must be there, if the class has one.
    :raises BuildError: with the code `unsupported_model` if the weights do not fit, `unsafe_checkpoint` or `source`.
    """
    model = load_weights(model_class, folder, purpose, allow_pickle=allow_pickle, needs_pooler=needs_pooler)
    with typed_errors(folder, "transformers"):
        tokenizer = AutoTokenizer.from_pretrained(str(folder), **_SAFE)
    return model, tokenizer


def load_weights(
    model_class: Any,
    folder: Path,
    purpose: str,
    *,
    allow_pickle: bool,
    config: Any = None,
    needs_pooler: bool = False,
) -> Any:
    """Load a model in evaluation mode whose class has exactly the weights of the checkpoint, except for unused ones.

    transformers initializes missing weights with random numbers, and drops those that its class does not have. Tables
    of sinusoidal positions may be missing, because transformers computes them, and poolers unless `needs_pooler` is
    set. Poolers and heads of the class that saved the checkpoint may be left over.

    :param config: the configuration; None for that of `folder`.
    :param needs_pooler: see `load_checkpoint`.
    :raises BuildError: like `load_checkpoint`.
    """
    arguments = model_arguments(allow_pickle=allow_pickle) | ({} if config is None else {"config": config})
    with typed_errors(folder, "transformers"):
        model, loading = model_class.from_pretrained(
            str(folder), output_loading_info=True, ignore_mismatched_sizes=True, **_SAFE, **arguments
        )
    dropped = _dropped_weights(model, folder) if loading["unexpected_keys"] else set()
    if problems := _weight_problems(loading, _sinusoidal_weights(model), dropped, needs_pooler=needs_pooler):
        raise BuildError(
            "unsupported_model",
            f"the weights of {folder.name} are not those of {type(model).__name__}: {'; '.join(problems)}",
            hint=f"Use a checkpoint that was trained for {purpose} with this class.",
        )
    return model.eval()


def _dropped_weights(model: Any, folder: Path) -> set[str]:
    """Return the names of the weights that transformers drops because they are not part of the encoder."""
    architectures = _architectures(read_config(folder), folder)
    with typed_errors(folder, "transformers"):
        return head_weights(model, architectures)


def _sinusoidal_weights(model: torch.nn.Module) -> set[str]:
    """Return the names of the position tables that transformers computes if a checkpoint lacks them."""
    tables = (name for name, module in model.named_modules() if hasattr(module, "create_weight"))
    return {f"{name}.weight" for name in tables}


def _weight_problems(
    loading: Mapping[str, Iterable[Any]], computed: Collection[str], dropped: Collection[str], *, needs_pooler: bool
) -> list[str]:
    """Return the differences between the weights of a checkpoint and those of its class, one message per kind.

    :param computed: the weights that may be missing.
    :param dropped: the weights that may be left over.
    """
    pairs = {str(name): (list(actual), list(own)) for name, actual, own in loading["mismatched_keys"]}
    mismatched = {name: f"{name} {actual} for {own}" for name, (actual, own) in pairs.items()}
    kinds = {
        "missing": {name: name for name in loading["missing_keys"] if name not in {*mismatched, *computed}},
        "unexpected": {name: name for name in loading["unexpected_keys"] if name not in dropped},
        "of another shape": mismatched,
    }
    problems = []
    for kind, texts in kinds.items():
        needs_all = needs_pooler and kind != "unexpected"  # a pooler that is left over is used by no class
        shown = [text for name, text in sorted(texts.items()) if needs_all or _POOLER not in name.split(".")]
        if shown:
            more = f" and {len(shown) - _SHOWN_WEIGHTS} more" if len(shown) > _SHOWN_WEIGHTS else ""
            problems.append(f"{kind}: {', '.join(shown[:_SHOWN_WEIGHTS])}{more}")
    return problems


def refuse_unknown_type(folder: Path) -> None:
    """Check the `model_type` in config.json before any weights are loaded.

    :raises BuildError: with the code `unsupported_model` if transformers has no such type, or `source`.
    """
    config = read_config(folder)
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING_NAMES:
        raise BuildError(
            "unsupported_model",
            f"{folder.name} has the model_type {model_type!r}, of which transformers has no class",
            hint="A class that is only in the checkpoint's own code cannot be exported, since that code is never run.",
        )


def refuse_foreign_head(folder: Path, classes: Mapping[str, str], head: str) -> None:
    """Check config.json of a model that must have a head of transformers, before any weights are loaded.

    :param classes: the name of the class with this head for each `model_type`.
    :param head: the suffix of these names.
    :raises BuildError: with the code `unsupported_model`, naming every problem, or `source`.
    """
    refuse_unknown_type(folder)
    no_class = "the model_type {!r}, of which transformers has no class with this head"
    _refuse_other_classes(folder, classes, no_class, f"a class *{head}")


def read_config(folder: Path) -> dict[str, Any]:
    """Read config.json.

    :raises BuildError: with the code `source` if it is not a JSON object.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise TypeError(f"expected an object, got {type(config).__name__}")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise BuildError("source", f"config.json of {folder.name} cannot be read: {error!r}") from error
    return config


def save_config(folder: Path, staging: Path, name: str = "config.json") -> None:
    """Copy a configuration file into the staging folder; references to code are left out, since it is not copied."""
    content = (folder / name).read_bytes()
    config = json.loads(content)
    kept = without_code(config)
    (staging / name).parent.mkdir(parents=True, exist_ok=True)
    (staging / name).write_bytes(content if kept == config else json.dumps(kept, indent=2).encode())


def _architectures(config: Mapping[str, Any], folder: Path) -> list[str]:
    names = config.get("architectures") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        what = f"architectures in config.json of {folder.name}"
        raise BuildError("source", what, expected="a list of names", actual=repr(names))
    return names


def refuse_unknown_architecture(folder: Path, known: Mapping[str, str]) -> None:
    """Check config.json before any weights are loaded.

    :param known: the supported class for each `model_type`.
    :raises BuildError: with the code `unsupported_model`, naming every problem, or `source`.
    """
    expected = f"one of {', '.join(sorted(known.values()))}"
    _refuse_other_classes(folder, known, "the architecture {!r}", expected)


def _refuse_other_classes(folder: Path, classes: Mapping[str, str], no_class: str, expected: str) -> None:
    """Check that a model has the class of its `model_type` in `classes`, in full precision.

    :param no_class: the message for a `model_type` that is not in `classes`, with `{!r}` for the type.
    """
    config = read_config(folder)
    model_type, architectures = config.get("model_type"), _architectures(config, folder)
    problems, supported = [], classes.get(str(model_type))
    if supported is None:
        problems.append(no_class.format(model_type))
    elif architectures and supported not in architectures:
        problems.append(f"a head that is not supported ({', '.join(architectures)}, not {supported})")
    if config.get("quantization_config"):
        problems.append("weights that are already quantized")
    if problems:
        raise BuildError(
            "unsupported_model", f"{folder.name} has {'; '.join(problems)}", expected=f"{expected} in full precision"
        )

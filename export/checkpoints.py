"""Loads checkpoints of transformers for all families: only safe weights, in float32. Failures become `BuildError`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from transformers import AutoTokenizer

from ..artifacts.errors import BuildError


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


def load_checkpoint(model_class: Any, folder: Path, purpose: str, *, allow_pickle: bool) -> tuple[Any, Any]:
    """Load a model in evaluation mode and its tokenizer.

    :param model_class: a model class of transformers, or an `Auto` class.
    :param purpose: the task that the checkpoint must be trained for, used in error messages.
    :raises BuildError: with the code `unsupported_model` if weights are missing, `unsafe_checkpoint` or `source`.
    """
    safe: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    arguments = model_arguments(allow_pickle=allow_pickle)
    with typed_errors(folder, "transformers"):
        model, loading = model_class.from_pretrained(str(folder), output_loading_info=True, **safe, **arguments)
        tokenizer = AutoTokenizer.from_pretrained(str(folder), **safe)
    if missing := sorted(loading["missing_keys"]):  # transformers initializes missing weights with random numbers
        raise BuildError(
            "unsupported_model",
            f"{folder.name} has no weights for {', '.join(missing)}",
            hint=f"Use a checkpoint that was trained for {purpose}.",
        )
    return model.eval(), tokenizer


def refuse_unknown_architecture(folder: Path, known: Mapping[str, str]) -> None:
    """Check config.json before any weights are loaded.

    :param known: the supported class for each `model_type`.
    :raises BuildError: with the code `unsupported_model`, naming every problem, or `source`.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        model_type, architectures = config.get("model_type"), list(config.get("architectures") or [])
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise BuildError("source", f"config.json of {folder.name} cannot be read: {error!r}") from error
    problems, supported = [], known.get(model_type)
    if supported is None:
        problems.append(f"the architecture {model_type!r}")
    elif architectures and supported not in architectures:
        problems.append(f"a head that is not supported ({', '.join(map(str, architectures))}, not {supported})")
    if config.get("quantization_config"):
        problems.append("weights that are already quantized")
    if problems:
        raise BuildError(
            "unsupported_model",
            f"{folder.name} has {'; '.join(problems)}",
            expected=f"one of {', '.join(sorted(known.values()))} in full precision",
        )

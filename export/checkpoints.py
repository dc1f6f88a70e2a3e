"""What loading a checkpoint has in common for every family: safe weights, float32, typed errors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoTokenizer

from ..artifacts.errors import BuildError

# What transformers raises over files that are missing, damaged or no model's; the last few where a value is of a kind
# that it did not expect.
_LOAD_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    RuntimeError,
    ImportError,
    SafetensorError,
    StrictDataclassError,
    AttributeError,
    TypeError,
)


def model_arguments(*, allow_pickle: bool) -> dict[str, Any]:
    """Keyword arguments of `from_pretrained` for a model to export: float32, attention in plain operators."""
    arguments: dict[str, Any] = {"attn_implementation": "eager", "dtype": torch.float32}
    return arguments if allow_pickle else {**arguments, "use_safetensors": True}


@contextmanager
def typed_errors(folder: Path, library: str) -> Iterator[None]:
    """Turn what `library` raises while it loads `folder` into a `BuildError`: `unsafe_checkpoint` or `source`."""
    try:
        yield
    except UnpicklingError as error:  # torch's weights_only has met something that is no tensor
        raise BuildError(
            "unsafe_checkpoint",
            f"the pickled weights of {folder.name} hold more than weights",
            expected="tensors alone",
            hint="Do not use this checkpoint.",
        ) from error
    except _LOAD_ERRORS as error:
        raise BuildError("source", f"{library} cannot load {folder.name}: {error}") from error


def load_checkpoint(family: Any, folder: Path, purpose: str, *, allow_pickle: bool) -> tuple[Any, Any]:
    """A model of one of transformers' classes, with all its weights, and its tokenizer.

    :param family: the class, or the `Auto` class that finds it.
    :param purpose: what the checkpoint should have been trained for, for messages.
    :raises BuildError: with the code `unsupported_model`, `unsafe_checkpoint` or `source`.
    """
    safe: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    arguments = model_arguments(allow_pickle=allow_pickle)
    with typed_errors(folder, "transformers"):
        model, loading = family.from_pretrained(str(folder), output_loading_info=True, **safe, **arguments)
        tokenizer = AutoTokenizer.from_pretrained(str(folder), **safe)
    if missing := sorted(loading["missing_keys"]):  # transformers would fill them with random numbers
        raise BuildError(
            "unsupported_model",
            f"{folder.name} holds no weights for {', '.join(missing)}",
            hint=f"Name a checkpoint that was trained for {purpose}.",
        )
    return model.eval(), tokenizer


def refuse_unknown_architecture(folder: Path, known: Mapping[str, str]) -> None:
    """Judge config.json before anything is loaded: a class that is not known never sees the weights.

    :param known: the class of each `model_type` that can be reproduced.
    :raises BuildError: with the code `unsupported_model`, naming everything at once, or `source`.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        model_type, named = config.get("model_type"), list(config.get("architectures") or [])
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise BuildError("source", f"config.json of {folder.name} cannot be read: {error!r}") from error
    problems, required = [], known.get(model_type)
    if required is None:
        problems.append(f"the architecture {model_type!r}")
    elif named and required not in named:
        problems.append(f"a head of its own ({', '.join(map(str, named))}), where {required} is known")
    if config.get("quantization_config"):
        problems.append("weights that are quantized already")
    if problems:
        raise BuildError(
            "unsupported_model",
            f"{folder.name} has {'; '.join(problems)}",
            expected=f"one of {', '.join(sorted(known.values()))} in full precision",
        )

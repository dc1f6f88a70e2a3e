"""What loading a checkpoint has in common for every family: safe weights, float32, typed errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from ..artifacts.errors import BuildError

# What transformers raises over files that are missing, damaged or no model's; the last few where a value is of a kind
# that it did not expect.
_LOAD_ERRORS = (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError, StrictDataclassError,
                AttributeError, TypeError)  # fmt: skip


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
        raise BuildError("unsafe_checkpoint", f"the pickled weights of {folder.name} hold more than weights",
                         expected="tensors alone", hint="Do not use this checkpoint.") from error  # fmt: skip
    except _LOAD_ERRORS as error:
        raise BuildError("source", f"{library} cannot load {folder.name}: {error}") from error

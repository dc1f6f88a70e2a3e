"""Loads checkpoints of transformers that have no modules.json, with the pooling that the build settings name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules.transformer import Transformer
from sentence_transformers.sentence_transformer.modules.pooling import Pooling

from ...artifacts import strict_json
from ...artifacts.errors import BuildError
from ..checkpoints import model_arguments, refuse_unknown_type, typed_errors
from .pipeline import refuse_other_weights
from .pooling import POOLING


def load_plain(folder: Path, pooling: str, *, allow_pickle: bool = False) -> SentenceTransformer:
    """Load a checkpoint as a pipeline of Transformer and Pooling, without normalization.

    :param pooling: a pooling mode of sentence-transformers.
    :raises BuildError: with the code `config` for an unknown mode, or if the folder has a modules.json, which names the
        pooling; with the code `unsupported_model`, `unsafe_checkpoint` or `source`.
    """
    if pooling not in POOLING:
        raise BuildError("config", "options.pooling", expected=f"one of {', '.join(POOLING)}", actual=pooling)
    if (folder / "modules.json").exists():
        raise BuildError(
            "config",
            f"options.pooling is {pooling}, but {folder.name} has a modules.json, which names its pooling",
            hint="Leave out the option, or remove modules.json.",
        )
    refuse_unknown_type(folder)
    safe = {"trust_remote_code": False, "local_files_only": True}
    with typed_errors(folder, "sentence-transformers"):
        transformer = Transformer(
            str(folder),
            model_kwargs={**model_arguments(allow_pickle=allow_pickle), **safe, "ignore_mismatched_sizes": True},
            processor_kwargs=safe,
            config_kwargs=safe,
        )
    refuse_other_weights(transformer, folder, allow_pickle=allow_pickle)
    with typed_errors(folder, "sentence-transformers"):
        pooled = Pooling(transformer.get_embedding_dimension(), pooling)
        return SentenceTransformer(modules=[transformer, pooled], device="cpu")


def save_modules(pipeline: SentenceTransformer, staging: Path) -> None:
    """Write the modules.json and the pooling that a checkpoint lacks, so that other libraries can open the artifact."""
    listing = [
        {"idx": index, "name": str(index), "path": path, "type": f"{type(module).__module__}.{type(module).__name__}"}
        for index, (path, module) in enumerate(zip(("", "1_Pooling"), pipeline, strict=True))
    ]
    (staging / "modules.json").write_text(json.dumps(listing, indent=2), encoding="utf-8")
    (staging / "1_Pooling").mkdir()
    pooling: Any = pipeline[1]
    config = pooling.get_config_dict()
    (staging / "1_Pooling" / "config.json").write_bytes(strict_json.canonical(config))

"""`build`: build artifacts from Python."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from .export.requirements import require_extra

if TYPE_CHECKING:  # these modules require the extra [export]
    from .cli.build import Built
    from .cli.config import ModelConfig
    from .runtime.options import StrPath


def build(
    models: Iterable[ModelConfig] | StrPath,
    out: StrPath,
    *,
    force: bool = False,
    progress: Callable[[str, str], None] | None = None,
) -> list[Built]:
    """Build models: export, quantize, compare with the original, seal. A failed build does not prevent the others.

    :param models: the models, or the path of a models.toml that lists them.
    :param out: the folder in which one artifact per model is created, and the folder `.reports`.
    :param force: build models even if their artifacts are up to date.
    :param progress: called with the name of a model and of a stage when the stage begins.
    :returns: one result for each model; `status` is `built`, `up to date` or `failed`, and `error` has the `code` and
        the `message` of a failure.
    :raises DependencyError: if the libraries of the extra `export` are not installed.
    :raises BuildError: with the code `config` if the file is invalid, naming all problems.
    """
    require_extra("export")
    from .cli.build import build_all
    from .cli.config import read_models

    report = progress or (lambda _model, _stage: None)
    chosen = read_models(Path(models)) if isinstance(models, (str, os.PathLike)) else list(models)
    return build_all(chosen, Path(out), lambda model: lambda stage: report(model.name, stage), force=force)

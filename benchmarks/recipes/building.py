"""What the recipes share: their command, and the build of their artifact."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from onnx_ml_bridge.artifacts.errors import BuildError, OnnxMlBridgeError
from onnx_ml_bridge.cli.build import build
from onnx_ml_bridge.cli.config import read_models

MODEL, ARTIFACT = "model", "artifact"


def run(
    recipe: str,
    description: str,
    make_model: Callable[[Path], object],
    models_toml: str,
    arguments: Sequence[str] | None = None,
    *,
    rebuild: bool = False,
    subfolder: str = ".",
) -> None:
    """Run the command of a recipe, which creates the model and its artifact.

    :param recipe: the name of its module.
    :param make_model: saves the model to a folder.
    :param models_toml: the configuration of the build, whose source is the folder `MODEL`.
    :param rebuild: build the artifact again if it is up to date.
    :param subfolder: the part of the command's folder for this model.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.recipes.{recipe}", description=description)
    parser.add_argument("--out", type=Path, required=True, help=f"folder for {MODEL}/ and {ARTIFACT}/")
    folder = parser.parse_args(arguments).out / subfolder
    try:
        make_model(folder / MODEL)
        if rebuild:
            shutil.rmtree(folder / ARTIFACT, ignore_errors=True)
        print(_build_artifact(folder, models_toml))
    except OnnxMlBridgeError as error:
        raise SystemExit(f"error: {error}") from error


def _build_artifact(folder: Path, models_toml: str) -> Path:
    """Build the artifact of the model in `folder`, as the command `build` does.

    :raises BuildError: if the build fails.
    """
    config = folder / "models.toml"
    config.write_text(models_toml, encoding="utf-8")
    [model] = read_models(config)
    built = build(model, folder / ARTIFACT, print)
    if built.path is None:
        raise BuildError("source", f"{model.name} was not built", actual=built.error)
    return Path(built.path)

"""A copy of the package in which a family does not exist: no declaration, no module in any stage."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

from onnx_ml_bridge.artifacts.family import Family

ROOT = Path(__file__).parents[2]
STAGES = ("artifacts/families", "cli", "export", "parity", "quantize", "runtime")
# Unit tests do without these
HEAVY = ("sentence_transformers", "spacy", "thinc", "torch", "transformers")


def package_without(family: Family, target: Path) -> Path:
    """Write the package `onnx_ml_bridge` without the family into `target`; beside it, heavy libraries fail to import.

    Returns the folder to put on PYTHONPATH.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for package, folder in project["tool"]["setuptools"]["package-dir"].items():
        shutil.copytree(ROOT / folder, target / package.replace(".", "/"), ignore=_ignored, dirs_exist_ok=True)
    _undeclare(family, target / "onnx_ml_bridge" / "artifacts" / "families" / "__init__.py")
    for stage in STAGES:
        folder = target / "onnx_ml_bridge" / stage
        shutil.rmtree(folder / family.name, ignore_errors=True)
        # An editable installation would find a module that is missing here
        _forbid(folder / f"{family.name}.py", f"the family {family.name} does not exist")
    for name in HEAVY:
        _forbid(target / f"{name}.py", f"a unit test imports {name}")
    return target


def _forbid(module: Path, reason: str) -> None:
    module.write_text(f"raise ModuleNotFoundError({reason!r})\n", encoding="utf-8")


def _ignored(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if name == "__pycache__"}


def _undeclare(family: Family, declarations: Path) -> None:
    """Take the family's import and its entry out of FAMILIES."""
    text = declarations.read_text(encoding="utf-8")
    text, imports = re.subn(rf"from \.{family.name} import .*\n", "", text)
    text, entries = re.subn(rf"(FAMILIES = \(.*?)\b{family.name.upper()}\b,? ?", r"\1", text, flags=re.DOTALL)
    assert (imports, entries) == (1, 1), declarations
    declarations.write_text(text, encoding="utf-8")

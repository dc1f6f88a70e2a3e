"""A pytest plugin that runs tests as if a family did not exist: `-p without_family`, with its name in WITHOUT_FAMILY.

The family is removed from the source of `artifacts/families/__init__.py`, and its modules cannot be imported.
"""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from types import ModuleType

FAMILIES_MODULE = "onnx_ml_bridge.artifacts.families"
STAGES = ("artifacts.families", "export", "graphs", "quantize", "parity", "runtime", "cli")


class FamilyRemover:
    """An import hook that refuses the family's modules and loads `artifacts.families` without the family."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._modules = tuple(f"onnx_ml_bridge.{stage}.{name}" for stage in STAGES)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if any(fullname == module or fullname.startswith(f"{module}.") for module in self._modules):
            raise ModuleNotFoundError(f"the family {self._name} is deleted: {fullname}", name=fullname)
        if fullname != FAMILIES_MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        assert spec is not None and spec.origin is not None
        loader = FamiliesLoader(fullname, spec.origin, self._name)
        return importlib.util.spec_from_file_location(
            fullname, spec.origin, loader=loader, submodule_search_locations=spec.submodule_search_locations
        )


class FamiliesLoader(importlib.machinery.SourceFileLoader):
    """Loads `artifacts.families` from its source without one family."""

    def __init__(self, fullname: str, path: str, family: str) -> None:
        super().__init__(fullname, path)
        self._family = family

    def get_code(self, fullname: str):
        source = self.get_data(self.path).decode()
        return compile(without(source, self._family), self.path, "exec")


def without(source: str, family: str) -> ast.Module:
    """Return the source of `artifacts/families/__init__.py` without one family's import and entry in the tuple."""
    tree = ast.parse(source)
    imported = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == family]
    names = {alias.name for node in imported for alias in node.names}
    assert len(names) == 1, f"{family} is not imported once"
    tree.body = [node for node in tree.body if node not in imported]
    for node in ast.walk(tree):
        if isinstance(node, ast.Tuple):
            node.elts = [each for each in node.elts if not (isinstance(each, ast.Name) and each.id in names)]
    return tree


def remove_family(name: str) -> None:
    loaded = [module for module in sys.modules if module.startswith("onnx_ml_bridge")]
    assert not loaded, f"too late: {loaded} are imported already"
    sys.meta_path.insert(0, FamilyRemover(name))


if (removed := os.environ.get("WITHOUT_FAMILY")) is not None:
    remove_family(removed)

"""Shared modules depend on no family: they compare no task or engine with a constant and import no family's module."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from onnx_ml_bridge.artifacts.families import FAMILIES

ROOT = Path(__file__).parents[2]
# The names of all families in the repository, even if FAMILIES does not contain them.
NAMES = {path.stem for path in (ROOT / "artifacts" / "families").glob("[!_]*.py")}
TASKS_AND_ENGINES = {family.task for family in FAMILIES} | {family.engine for family in FAMILIES}
# Names of constants whose value is a task, an engine or a declaration.
CONSTANTS = {"NER", "SPACY", "TRANSFORMERS"} | {family.name.upper() for family in FAMILIES}


def shared_modules() -> Iterator[Path]:
    """Yield the modules of the package that belong to no family."""
    mapped = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-dir"]
    for folder in mapped.values():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if not NAMES & set(parts) and "families" not in parts:
                yield path


def comparisons(tree: ast.AST) -> Iterator[tuple[int, ast.expr]]:
    """Yield all operands of comparisons, `in` tests and `match` statements, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            for operand in (node.left, *node.comparators):
                yield from ((node.lineno, each) for each in ast.walk(operand) if isinstance(each, ast.expr))
        elif isinstance(node, ast.MatchValue):
            yield node.lineno, node.value


def names_a_task(expression: ast.expr) -> bool:
    """Return whether an expression is a task or an engine: a literal, a constant, or an attribute of a declaration."""
    if isinstance(expression, ast.Constant):
        return expression.value in TASKS_AND_ENGINES
    if isinstance(expression, ast.Name):
        return expression.id in CONSTANTS
    return isinstance(expression, ast.Attribute) and expression.attr in CONSTANTS


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("task == 'ner'", True),
        ("manifest.task in (NER, 'x')", True),
        ("family.engine != constants.SPACY", True),
        (f"family.task == {FAMILIES[0].name.upper()}.task", True),
        (f"match task:\n    case '{FAMILIES[0].task}':\n        pass", True),
        ("family.task == task", False),
        ("task = 'ner'", False),
        ("open_artifact(root, task=NER)", False),
    ],
)
def test_the_check_recognizes_comparisons(source, expected):
    assert any(names_a_task(each) for _, each in comparisons(ast.parse(source))) is expected


def test_no_shared_module_compares_a_task_or_an_engine():
    modules = list(shared_modules())
    assert len(modules) > 60
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in modules
        for line, each in comparisons(ast.parse(path.read_text(encoding="utf-8")))
        if names_a_task(each)
    ]
    assert found == []


def test_no_shared_module_imports_a_module_of_a_family():
    found = []
    for path in shared_modules():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and NAMES & set((node.module or "").split(".")):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []

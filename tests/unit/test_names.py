"""Identifiers use the terms of the glossary in CONTRIBUTING.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Words that the glossary's column "do not say" forbids and that no name may contain
FORBIDDEN = {
    "place",
    "places",
    "oracle",
    "judge",
    "spoil",
    "nasty",
    "blank",
    "tagger",
    "lineup",
    "wanted",
    "most",
    "least",
    "portion",
}
GENERATED = {"build", "dist", "target"}
_RUST_STRING = re.compile(r'b?r(#*)".*?"\1|b?"(?:\\.|[^"\\])*"', re.DOTALL)
_RUST_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
# Finds the names that Rust source defines: after a keyword, before a colon, or as the argument of a closure
_RUST_DEFINITION = re.compile(
    r"\b(?:fn|struct|enum|trait|type|mod|const|static|let(?:\s+mut)?|macro_rules!|for|use\s[^;]*\bas)\s+([A-Za-z_]\w*)"
    r"|([A-Za-z_]\w*)\s*:(?!:)"
    r"|\|\s*(?:mut\s+)?([A-Za-z_]\w*)"
)


def words(identifier: str) -> set[str]:
    """The words of an identifier in snake case or camel case, in lower case."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", identifier)}


def python_definitions(source: str) -> Iterator[tuple[int, str]]:
    """The names that a module defines: functions, classes, arguments, variables and attributes."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
        elif isinstance(node, ast.alias) and node.asname:
            yield node.lineno, node.asname


def rust_definitions(source: str) -> Iterator[tuple[int, str]]:
    """The names that a file defines, found by keyword; strings and comments are left out."""
    code = _RUST_COMMENT.sub(" ", _RUST_STRING.sub('""', source))
    for match in _RUST_DEFINITION.finditer(code):
        yield code.count("\n", 0, match.start()) + 1, next(group for group in match.groups() if group)


DEFINITIONS = {".py": python_definitions, ".rs": rust_definitions}


def source_files(suffix: str) -> list[Path]:
    """The source files of the repository, without those in folders that builds create."""
    folders = [path for path in ROOT.iterdir() if path.is_dir() and path.name not in GENERATED and path.name[0] != "."]
    found = [path for folder in folders for path in folder.rglob(f"*{suffix}")]
    return sorted(path for path in found if not GENERATED & set(path.relative_to(ROOT).parts))


@pytest.mark.parametrize(
    ("suffix", "source", "expected"),
    [
        (".py", "def place_of(x): pass", True),
        (".py", "class NastyTexts: pass", True),
        (".py", "for x, mostLikely in y: pass", True),
        (".py", "f(lambda least: 0)", True),
        (".py", "self.wanted = 1", True),
        (".py", "x = 'place'; nlp = spacy.blank('en')  # most", False),
        (".py", "replace, utmost, placement = 1, 2, 3", False),
        (".rs", "fn place() {}", True),
        (".rs", "let mut most = 1;", True),
        (".rs", "struct X { blank: u8 }", True),
        (".rs", "x.map(|wanted| 1)", True),
        (".rs", "const LEAST_BYTES: u8 = 1;", True),
        (".rs", '// fn place() {}\nlet x = "let most = 1";', False),
    ],
)
def test_the_check_sees_names(suffix, source, expected):
    assert any(words(name) & FORBIDDEN for _, name in DEFINITIONS[suffix](source)) is expected


@pytest.mark.parametrize("suffix", [".py", ".rs"])
def test_no_name_has_a_forbidden_word(suffix):
    files = source_files(suffix)
    assert len(files) > 80
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in files
        for line, name in DEFINITIONS[suffix](path.read_text(encoding="utf-8"))
        if words(name) & FORBIDDEN
    ]
    assert found == []

"""The imports between the modules of the Rust crate have no cycles."""

from __future__ import annotations

import re
from graphlib import TopologicalSorter
from pathlib import Path

CRATE = Path(__file__).parents[2] / "bridge"
SOURCE = CRATE / "src"
_USE = re.compile(r"^\s*(?:pub(?:\([a-z]+\))? )?use ([^;]+);", re.MULTILINE)
_PATH = re.compile(r"\b((?:crate|super|self)(?:::\w+)+)")
_TESTS = re.compile(r"#\[cfg\((?:all\()?test.*?\)\]\s*mod tests \{.*", re.DOTALL)
# These files are treated as one module, because mod.rs exports what the others define
_FAMILIES = {"families/mod.rs", "families/artifact.rs", "families/loading.rs"}


def module_path(file: Path) -> tuple[str, ...]:
    """The path of the module that a file defines, for example ("artifact", "graph")."""
    parts = file.relative_to(SOURCE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "mod" else parts


def component(file: Path) -> str:
    """The component of a file: its top-level module.

    A file in families/ is a component itself, and so are a subfolder of families/ and each command.rs.
    """
    name = file.relative_to(SOURCE).as_posix()
    parts = name.split("/")
    if name in _FAMILIES:
        return "families"
    if parts[0] != "families":
        return parts[0].removesuffix(".rs")
    return "/".join(parts if parts[-1] == "command.rs" else parts[:2]).removesuffix(".rs")


def expand(tree: str) -> list[str]:
    """The paths that a Rust `use` declaration imports: `a::{b, c::{d, e}}` is `a::b`, `a::c::d` and `a::c::e`."""
    start = tree.find("{")
    if start < 0:
        return [re.sub(r" as \w+$", "", tree.strip())]
    items, depth, item = [], 0, ""
    for character in tree[start + 1 : tree.rindex("}")] + ",":
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "," and depth == 0:
            items.append(item)
            item = ""
        else:
            item += character
    return [path for item in items if item.strip() for path in expand(tree[:start].strip() + item.strip())]


def absolute(path: str, module: tuple[str, ...]) -> tuple[str, ...]:
    """Resolve a path in the source of a module to a path from the root of the crate; empty for other crates."""
    first, *rest = path.split("::")
    if first == "crate":
        return tuple(rest)
    if first == "self":
        return (*module, *rest)
    base = module
    while first == "super":
        base, first, *rest = base[:-1], *(rest or [""])
        if first != "super":
            return (*base, first, *rest)
    return ()


def files() -> dict[tuple[str, ...], Path]:
    """The files of the crate by module; lib.rs and main.rs, which join the modules, are left out."""
    found = (path for path in SOURCE.rglob("*.rs") if path.parent != SOURCE or path.stem not in ("lib", "main"))
    return {module_path(path): path for path in found}


def exported(modules: dict[tuple[str, ...], Path]) -> dict[str, Path]:
    """The files that define the names that lib.rs exports."""
    names = {}
    for tree in _USE.findall((SOURCE / "lib.rs").read_text()):
        for path in expand(tree):
            target = locate(tuple(path.split("::")), modules)
            if target and not path.endswith("*"):
                names[path.split("::")[-1]] = target
    return names


def locate(path: tuple[str, ...], modules: dict[tuple[str, ...], Path]) -> Path | None:
    """The file of the module that a path belongs to: the longest prefix of the path that is a module."""
    prefixes = (path[:length] for length in range(len(path), 0, -1))
    return next((modules[prefix] for prefix in prefixes if prefix in modules), None)


def imports() -> dict[Path, set[Path]]:
    """The files that each file of the crate imports; unit tests are left out."""
    modules = files()
    names = exported(modules)
    result: dict[Path, set[Path]] = {}
    for module, file in modules.items():
        source = re.sub(r"//[^\n]*", "", _TESTS.sub("", file.read_text()))
        paths = [path for tree in _USE.findall(source) for path in expand(tree)]
        paths += _PATH.findall(_USE.sub("", source))
        result[file] = set()
        for path in paths:
            parts = absolute(path, module)
            target = names.get(parts[0]) if len(parts) == 1 and parts[0] in names else locate(parts, modules)
            if target and target != file:
                result[file].add(target)
    return result


def components() -> dict[str, set[str]]:
    """The components that each component imports."""
    graph: dict[str, set[str]] = {}
    for file, targets in imports().items():
        graph.setdefault(component(file), set()).update({component(target) for target in targets} - {component(file)})
    return graph


def test_use_trees_and_relative_paths_are_resolved():
    assert expand("crate::a::{self, b::{C, D as E}, f}") == [
        "crate::a::self",
        "crate::a::b::C",
        "crate::a::b::D",
        "crate::a::f",
    ]
    assert absolute("super::super::x::Y", ("a", "b", "c")) == ("a", "x", "Y")
    assert absolute("super::X", ("a", "b")) == ("a", "X")
    assert absolute("self::x", ("a",)) == ("a", "x")
    assert absolute("std::fs", ("a",)) == ()
    modules = files()
    assert len(modules) > 60
    assert exported(modules)["Entity"] == SOURCE / "tasks/mod.rs"
    assert exported(modules)["Embedder"] == SOURCE / "handles/mod.rs"
    assert exported(modules)["OnnxMlBridge"] == SOURCE / "bridge/mod.rs"


def test_imports_are_found():
    graph = components()
    assert {"handles", "life", "model", "runtime", "tasks", "error"} <= graph["bridge"]
    assert "families/ner" in graph["families/spacy_ner"]
    assert "handles" in graph["families/ner/command"]


def test_components_have_no_circles():
    graph = components()
    assert len(graph) > 15
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the cycle


def test_the_artifact_module_knows_the_format_only():
    assert components()["artifact"] <= {"error"}


def test_families_are_distinguished_in_few_files():
    variant = re.compile(r"\bFamily::(?!ALL\b)[A-Z]\w*")
    files = [path for path in SOURCE.rglob("*.rs") if variant.search(_TESTS.sub("", path.read_text()))]
    # 1 is added for families/mod.rs, which distinguishes families by `Self::NAME` instead of `Family::NAME`
    assert len(files) + 1 <= 5, files


def test_clippy_denies_wildcard_arms():
    assert "#![deny(clippy::wildcard_enum_match_arm)]" in (SOURCE / "lib.rs").read_text()
    allowed = [path for path in SOURCE.rglob("*.rs") if "allow(clippy::wildcard_enum_match_arm" in path.read_text()]
    assert allowed == []

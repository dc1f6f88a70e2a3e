"""Compare the public API of the Rust crate with its snapshot, tests/api/rust.txt.

The items are read from the source: rustdoc's JSON needs a nightly compiler, and its format changes with every version.
A change of the API changes the snapshot: run this file as a script to write it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "bridge" / "src"
SNAPSHOT = ROOT / "tests" / "api" / "rust.txt"
# The parts of the crate whose public items are exported, by the module through which they are
EXPORTED = (
    "api.rs",
    "backends",
    "bridge",
    "cause.rs",
    "error.rs",
    "error_code.rs",
    "handles",
    "health.rs",
    "model.rs",
    "open.rs",
    "options.rs",
    "status.rs",
    "store",
    "tasks",
)
EXPORTED += (
    "unknown_name.rs",
    "runtime/cancellation.rs",
    "runtime/cpu.rs",
    "runtime/environment.rs",
    "runtime/options.rs",
    "runtime/providers.rs",
)
_IGNORED = re.compile(r'//[^\n]*|"(?:\\.|[^"\\])*"|r#".*?"#', re.DOTALL)
_ATTRIBUTE = re.compile(r"#!?\[(?:[^\[\]]|\[[^\]]*\])*\]\s*")
# Modules that only a build for fuzzing has
_FUZZING = re.compile(r"#\[cfg\(fuzzing\)\]\s*#\[doc\(hidden\)\]\s*pub mod \w+;")
_TESTS = re.compile(r"#\[cfg\(test\)\]\s*mod tests.*", re.DOTALL)


def blocks(source: str) -> Iterator[tuple[str, str]]:
    """Yield the head and the body of every item at the top level; an item that ends with a semicolon has no body."""
    start = index = depth = 0
    while index < len(source):
        depth += {"[": 1, "]": -1}.get(source[index], 0)
        if source[index] == ";" and depth == 0:
            yield source[start:index], ""
            start = index + 1
        elif source[index] == "{":
            end = matching(source, index)
            yield source[start:index], source[index + 1 : end]
            index, start = end, end + 1
        index += 1


def matching(source: str, opening: int) -> int:
    """The index of the brace that closes the one at an index."""
    depth = 0
    for index in range(opening, len(source)):
        depth += {"{": 1, "}": -1}.get(source[index], 0)
        if depth == 0:
            return index
    raise AssertionError(source[opening : opening + 80])


def parts(body: str) -> Iterator[str]:
    """Yield the parts of a body that commas separate: fields or variants."""
    depth, part = 0, ""
    for character in body:
        depth += {"{": 1, "(": 1, "<": 1, "[": 1, "}": -1, ")": -1, ">": -1, "]": -1}.get(character, 0)
        if character == "," and depth == 0:
            yield part
            part = ""
        else:
            part += character
    yield part


def line(text: str) -> str:
    """The text in one line, without attributes but `non_exhaustive`."""
    marked = "[non_exhaustive] " if "#[non_exhaustive]" in text else ""
    text = re.sub(r"\s+", " ", _ATTRIBUTE.sub("", text)).strip()
    return marked + re.sub(r",? ([)}\]])", r"\1", re.sub(r"([(\[{]) ", r"\1", text))


def items(source: str) -> Iterator[str]:
    """Yield a line for every public item of a file: types, fields, variants, traits, functions and constants."""
    source = _IGNORED.sub("", _FUZZING.sub("", _TESTS.sub("", source)))
    types = re.findall(r"\bpub (?:struct|enum) (\w+)", source)
    for head, body in blocks(source):
        text = line(head)
        bare = text.removeprefix("[non_exhaustive] ")
        if bare.startswith("impl") and " for " not in bare:
            methods = (line(inner).split(" =")[0] for inner, _ in blocks(body))
            yield from (f"{bare} :: {each}" for each in methods if each.startswith("pub "))
        elif bare.startswith("impl"):
            trait, name = re.findall(r"(\w+)(?:<[^ ]*>)? for &?(?:'\w+ )?(\w+)", bare)[0]
            if name in types and trait != "FromSlot":
                yield bare
        elif not bare.startswith("pub ") or bare.startswith("pub use"):
            continue
        elif " =" in bare or (bare.startswith("pub struct") and not body):
            yield text.split(" =")[0]
        else:
            yield text
            yield from members(bare, body)


def members(bare: str, body: str) -> Iterator[str]:
    """Yield a line for every public field, variant or method of a type or trait."""
    name = re.sub(r"[<:(].*", "", bare.removeprefix("pub ")).strip()
    if bare.startswith("pub trait"):
        yield from (f"{name} :: {line(head)}" for head, _ in blocks(body) if "fn " in head)
    elif bare.startswith(("pub struct", "pub enum")):
        lines = (line(part) for part in parts(body))
        yield from (f"{name} :: {each}" for each in lines if each and ("enum" in bare or each.startswith("pub ")))


def derived(source: str) -> Iterator[str]:
    """Yield the derived traits of every public type."""
    source = _IGNORED.sub("", _FUZZING.sub("", _TESTS.sub("", source)))
    for head, _ in blocks(source):
        if found := re.search(r"\bpub (?:struct|enum) (\w+)", head):
            traits = re.findall(r"[\w:]+", " ".join(re.findall(r"derive\(([^)]*)\)", head)))
            yield f"derive {found.group(1)}: {', '.join(sorted(traits))}"


def public_api() -> str:
    """The snapshot: a section for every file with public items."""
    paths = sorted(path for path in SOURCE.rglob("*.rs") if path.relative_to(SOURCE).as_posix().startswith(EXPORTED))
    exports = _IGNORED.sub("", _FUZZING.sub("", (SOURCE / "lib.rs").read_text(encoding="utf-8")))
    result = ["# lib.rs", *sorted(line(text) for text, _ in blocks_of_uses(exports))]
    for path in paths:
        source = path.read_text(encoding="utf-8")
        if found := sorted(items(source)):
            result += ["", f"# {path.relative_to(SOURCE).as_posix()}", *sorted(derived(source)), *found]
    return "\n".join(result) + "\n"


def blocks_of_uses(source: str) -> Iterator[tuple[str, str]]:
    """Yield the `pub use` and `pub mod` declarations of lib.rs."""
    yield from ((text, "") for text in re.findall(r"^pub (?:use|mod) [^;]+;", source, re.MULTILINE))


def test_the_parser_finds_public_items():
    source = """
    /// A type. #[derive(Debug, Clone)]
    #[derive(Clone, Debug)]
    #[non_exhaustive]
    pub struct A { /// A field.
        pub a: Map<u8, u8>, b: u8, pub(crate) c: u8 }
    pub enum B { #[error("{x}")] X { y: u8 }, Z, }
    impl A { pub const C: [u8; 1] = [1]; pub fn f(&self) -> u8 { 1 } fn g() {} pub(crate) fn h() {} }
    impl From<B> for A { fn from(b: B) -> Self { A } }
    pub trait T: Send { fn f(&self); async fn g(&self) { "}" } }
    pub(crate) struct D { pub d: u8 }
    #[cfg(test)]
    mod tests { pub fn x() {} }
    """
    assert list(items(source)) == [
        "[non_exhaustive] pub struct A",
        "struct A :: pub a: Map<u8, u8>",
        "pub enum B",
        "enum B :: X {y: u8}",
        "enum B :: Z",
        "impl A :: pub const C: [u8; 1]",
        "impl A :: pub fn f(&self) -> u8",
        "impl From<B> for A",
        "pub trait T: Send",
        "trait T :: fn f(&self)",
        "trait T :: async fn g(&self)",
    ]
    assert list(derived(source)) == ["derive A: Clone, Debug", "derive B: "]


def test_the_public_api_is_that_of_the_snapshot():
    assert public_api() == SNAPSHOT.read_text(encoding="utf-8"), f"run `python {Path(__file__).relative_to(ROOT)}`"


if __name__ == "__main__":
    SNAPSHOT.write_text(public_api(), encoding="utf-8")

"""Streams of paragraphs from the files of a Linux machine: man pages, documentation, message catalogs.

Every stream reads its files one by one in a random order, which depends only on the random generator `source`.
"""

from __future__ import annotations

import ast
import gzip
import importlib.util
import inspect
import random
import re
import struct
import sys
import sysconfig
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path

from .roff import running_text

_SHARE = Path("/usr/share")
_PACKAGES = Path("/var/lib/dpkg/status")
_DOCUMENTS = re.compile(r"(?i)(changelog|news|readme|copyright|authors|history|thanks|faq)|\.(txt|md|rst)(\.gz)?$")
_MAX_BYTES = 4_000_000
_PAGES_PER_COMMAND = 25
_MODULES_PER_PACKAGE = 400
_MO_MAGIC = 0x950412DE
_AND = {"en": "and", "fr": "et", "es": "y"}


def man_pages(language: str, source: random.Random) -> Iterator[str]:
    """Yield paragraphs of the pages in /usr/share/man.

    Of the English pages whose names begin with the same word, such as `git`, only 25 are used.
    """
    folder = _SHARE / "man" if language == "en" else _SHARE / "man" / language
    pages = _shuffled((path for part in folder.glob("man?") for path in part.iterdir()), source)
    families: Counter[str] = Counter()
    for page in pages:
        family = re.split(r"[-_.]", page.name)[0]
        families[family] += 1
        if families[family] <= _PAGES_PER_COMMAND or language != "en":
            yield from _some(running_text(_read(page)).split("\n\n"), source, 10 if language == "en" else 200)


def documentation(language: str, source: random.Random) -> Iterator[str]:
    """Yield paragraphs of changelogs, news, copyright notices, README files and licenses in English."""
    folders = (_SHARE / "doc", _SHARE / "common-licenses")
    files = (path for folder in folders for path in folder.rglob("*"))
    named = (path for path in files if path.parent == folders[1] or _DOCUMENTS.search(path.name))
    for path in _shuffled(named, source):
        yield from _some(re.split(r"\n\s*\n", _read(path)), source, 20)


def debian_descriptions(language: str, source: random.Random) -> Iterator[str]:
    """Yield paragraphs of the English descriptions of installed Debian packages."""
    status = _read(_PACKAGES) if _PACKAGES.is_file() else ""
    found = re.findall(r"^Description: (.*\n(?: .*\n)+)", status, re.MULTILINE)
    paragraphs = [part for text in found for part in re.split(r"\n \.\n", text)]
    yield from _some([re.sub(r"(?m)^ ", "", part).strip() for part in paragraphs], source, len(paragraphs))


def python_descriptions(language: str, source: random.Random) -> Iterator[str]:
    """Yield paragraphs of the English descriptions (README files) of installed Python packages."""
    for package in _packages(source):
        text = package.metadata["Description"] or str(package.metadata.get_payload() or "")
        yield from _some(re.split(r"\n\s*\n", text), source, 60)


def docstrings(language: str, source: random.Random) -> Iterator[str]:
    """Yield paragraphs of English docstrings of the standard library and of installed packages."""
    library = Path(sysconfig.get_path("stdlib"))
    groups = [
        list(library.glob("*.py")),
        *(
            [Path(str(package.locate_file(file))) for file in package.files or () if file.suffix == ".py"]
            for package in _packages(source)
        ),
    ]
    modules = [path for group in groups for path in _shuffled(group, source)[:_MODULES_PER_PACKAGE]]
    for module in _shuffled(modules, source):
        parts = [part for text in _docstrings(_read(module)) for part in text.split("\n\n")]
        yield from _some(parts, source, 20)


def message_catalogs(language: str, source: random.Random) -> Iterator[str]:
    """Yield texts of one to six consecutive messages of a gettext catalog of a program or a Python package."""
    for path in _shuffled(_catalog_files(language), source):
        if path.name.startswith("iso_"):
            continue
        messages = [text for text in mo_messages(path) if len(text) >= 20]
        index = 0
        while index < len(messages):
            step = source.randint(1, 6)
            yield source.choice((" ", "\n", "\n\n")).join(messages[index : index + step])
            index += step


def country_names(language: str, source: random.Random) -> Iterator[str]:
    """Yield example sentences of spaCy, each followed by names of countries, regions and languages from iso-codes."""
    files = [path for path in _catalog_files(language) if path.name.startswith("iso_")]
    names = sorted({text for path in files for text in mo_messages(path) if 3 < len(text) < 40})
    sentences = list(examples(language, source)) or [""]
    for _ in range(len(names) // 5):
        listed = source.sample(names, source.randint(2, 7))
        text = f"{', '.join(listed[:-1])} {_AND[language]} {listed[-1]}"
        yield f"{source.choice(sentences)}{source.choice((' : ', '. ', ' (', ', '))}{text}."


def examples(language: str, source: random.Random) -> Iterator[str]:
    """Yield the example sentences of the language that are part of spaCy."""
    spec = importlib.util.find_spec(f"spacy.lang.{language}.examples") if importlib.util.find_spec("spacy") else None
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield from module.sentences


def mo_messages(path: Path) -> list[str]:
    """Return the UTF-8 translations of a compiled gettext catalog (.mo); of plural forms, only the last one."""
    data = path.read_bytes()
    order = "<" if data[:4] == struct.pack("<I", _MO_MAGIC) else ">"
    count, _, table = struct.unpack_from(f"{order}3I", data, 8)
    found = []
    for index in range(count):
        length, offset = struct.unpack_from(f"{order}2I", data, table + 8 * index)
        try:
            found.append(data[offset : offset + length].decode().split("\0")[-1])
        except UnicodeDecodeError:
            continue
    return [text for text in found if not text.startswith(("Project-Id-Version", "Content-Type"))]


Stream = Callable[[str, random.Random], Iterator[str]]
_TRANSLATED: dict[str, Stream] = {
    "man_pages": man_pages,
    "catalogues": message_catalogs,
    "place_names": country_names,
    "examples": examples,
}
# For every language, the functions that yield its texts, by name. The name is part of the seed of the random order of
# these texts, so renaming a stream changes the documents that are drawn from it.
STREAMS: dict[str, dict[str, Stream]] = {
    "en": {
        "man_pages": man_pages,
        "documentation": documentation,
        "debian_descriptions": debian_descriptions,
        "python_descriptions": python_descriptions,
        "docstrings": docstrings,
    },
    "fr": _TRANSLATED,
    "es": _TRANSLATED,
}


def _catalog_files(language: str) -> list[Path]:
    roots = [_SHARE / "locale", *_SHARE.glob("vim/*/lang")]
    found = [path for root in roots for path in (root / language / "LC_MESSAGES").glob("*.mo")]
    for package in metadata.distributions():
        files = (file for file in package.files or () if file.suffix == ".mo" and f"/{language}/" in str(file))
        found += [Path(str(package.locate_file(file))) for file in files]
    return sorted(path for path in set(found) if path.is_file())


def _packages(source: random.Random) -> list[metadata.Distribution]:
    """Return the installed Python packages in a random order without duplicates."""
    named = {str(package.metadata["Name"]): package for package in metadata.distributions()}
    names = sorted(named)
    source.shuffle(names)
    return [named[name] for name in names]


def _docstrings(code: str) -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hides warnings about invalid escape sequences
        try:
            tree = ast.parse(code)
        except (SyntaxError, ValueError):
            return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield inspect.cleandoc(ast.get_docstring(node, clean=False) or "")


def _shuffled(paths: Iterable[Path], source: random.Random) -> list[Path]:
    """Return the paths that are regular files, in a random order without duplicates."""
    found = sorted({path for path in paths if path.is_file() and not path.is_symlink()})
    source.shuffle(found)
    return found


def _some(texts: list[str], source: random.Random, count: int) -> list[str]:
    """Return up to `count` of the texts in a random order."""
    return source.sample(texts, min(count, len(texts)))


def _read(path: Path) -> str:
    """Read a text file, which may be compressed; return an empty text if it cannot be read as UTF-8."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return file.read(_MAX_BYTES).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        if isinstance(error, PermissionError):
            sys.stderr.write(f"not readable: {path}\n")
        return ""

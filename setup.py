"""List the packages of the wheel: the folders that pyproject.toml maps, and their subfolders with an `__init__.py`."""

from __future__ import annotations

import tomllib
from pathlib import Path

from setuptools import setup

MAPPED = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-dir"]

setup(
    packages=[
        ".".join([package, *init.parent.relative_to(folder).parts])
        for package, folder in MAPPED.items()
        for init in sorted(Path(folder).rglob("__init__.py"))
    ]
)

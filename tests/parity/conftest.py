"""Exports of small models, made once a session and shared by all files of this folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from small_exports import SmallExport, add_int8, export_small


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., SmallExport]:
    """`small(architecture, **options)`: the export of that small model."""
    made: dict[str, SmallExport] = {}

    def get(architecture: str, **options: Any) -> SmallExport:
        key = f"{architecture} {sorted(options.items())}"
        if key not in made:
            made[key] = export_small(tmp_path_factory.mktemp(architecture), architecture, **options)
        return made[key]

    return get


@pytest.fixture(scope="session")
def small_int8(small: Callable[..., SmallExport]) -> Callable[..., SmallExport]:
    """`small_int8(architecture)`: the same with an int8 variant; `layers` and `tables` are in the second value."""
    made: dict[str, Any] = {}

    def get(architecture: str) -> tuple[SmallExport, Any]:
        if architecture not in made:
            export = small(architecture)
            made[architecture] = (export, add_int8(export))
        return made[architecture]

    return get

"""Exports of small models, which are created once per session and shared by all files of this folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small_exports import SmallExport, add_int8, export_small
from token_classifier_exports import (
    MAX_TOKENS,
    SmallTokenClassifier,
    export_token_classifier,
    golden_cases,
    seal_token_classifier,
    token_classifier_texts,
)
from token_classifier_exports import add_int8 as add_token_classifier_int8


@pytest.fixture(scope="session")
def rust() -> Path:
    """The path of the Rust command. It loads the library in ORT_DYLIB_PATH; the Makefile sets both variables."""
    return Path(os.environ["ONNX_ML_BRIDGE_RUST"])


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Use one thread: more are not faster for small networks, and the threads of two libraries slow each other down."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., SmallExport]:
    """The function `small(architecture, **options)`, which returns the export of a small model."""
    made: dict[str, SmallExport] = {}

    def get(architecture: str, **options: Any) -> SmallExport:
        key = f"{architecture} {sorted(options.items())}"
        if key not in made:
            made[key] = export_small(tmp_path_factory.mktemp(architecture), architecture, **options)
        return made[key]

    return get


@pytest.fixture(scope="session")
def small_int8(small: Callable[..., SmallExport]) -> Callable[..., SmallExport]:
    """The function `small_int8(architecture)`, which returns an export with an int8 variant, and its quantization."""
    made: dict[str, Any] = {}

    def get(architecture: str) -> tuple[SmallExport, Any]:
        if architecture not in made:
            export = small(architecture)
            made[architecture] = (export, add_int8(export))
        return made[architecture]

    return get


@pytest.fixture(scope="session")
def token_classifier(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., SmallTokenClassifier]:
    """The function `token_classifier(name, **options)`, which returns the export of a small token classifier.

    The default of the option `model_max_length` is `MAX_TOKENS`.
    """
    made: dict[str, SmallTokenClassifier] = {}

    def get(name: str, **options: Any) -> SmallTokenClassifier:
        key = f"{name} {sorted(options.items())}"
        if key not in made:
            made[key] = export_token_classifier(
                tmp_path_factory.mktemp(name), name, **{"model_max_length": MAX_TOKENS} | options
            )
        return made[key]

    return get


@pytest.fixture(scope="session")
def token_classifier_int8(token_classifier: Callable[..., SmallTokenClassifier]) -> Callable[..., Any]:
    """The function `token_classifier_int8(name)`, which returns an export with int8, and its quantization."""
    made: dict[str, Any] = {}

    def get(name: str) -> tuple[SmallTokenClassifier, Any]:
        if name not in made:
            made[name] = (token_classifier(name), add_token_classifier_int8(token_classifier(name)))
        return made[name]

    return get


@pytest.fixture(scope="session")
def sealed_token_classifier(
    token_classifier_int8: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """The function `sealed_token_classifier(name)`, which returns an artifact of a small token classifier.

    It has both variants, and golden cases with several settings.
    """
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            small, quantized = token_classifier_int8(name)
            cases = [
                case
                for strategy, stride in (("none", None), ("simple", None), ("average", 9), ("max", 0))
                for case in golden_cases(small, token_classifier_texts()[::5], strategy, stride)
            ]
            made[name] = seal_token_classifier(small, tmp_path_factory.mktemp("sealed") / name, cases, quantized)
        return made[name]

    return get

"""docs/backends.md: its bridge.toml is valid, its Python has the names of the API, and its tables have all codes."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import onnx_ml_bridge
import pytest
from onnx_ml_bridge.artifacts.schema import bridge_schema
from onnx_ml_bridge.backends.verdicts import refused
from onnx_ml_bridge.runtime.bridge_config import read_bridge_config

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/backends.md").read_text(encoding="utf-8")
CASES = json.loads((ROOT / "tests/golden/backends.json").read_text(encoding="utf-8"))["cases"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", blocks("toml"))
def test_a_bridge_toml_of_the_page_is_valid(text, tmp_path):
    (tmp_path / "bridge.toml").write_text(text.replace('"..."', f'"{"0" * 64}"'), encoding="utf-8")
    config = read_bridge_config(tmp_path / "bridge.toml")
    assert config.models or config.backends


def test_the_page_has_all_keys_of_backends():
    text = blocks("toml")[1]
    schema = bridge_schema()["$defs"]
    for kind in ("openai", "llama_cpp"):
        properties = schema[kind]["properties"]
        assert [name for name in properties if name not in text and name != "ner"] == []
        for task in ("embedding", "ner", "summarization"):
            keys = properties[task]["properties"]
            assert [name for name in keys if f"`{name}`" not in PAGE] == []


@pytest.mark.parametrize("code", blocks("python"))
def test_its_python_uses_the_public_names_that_it_imports(code):
    nodes = list(ast.walk(ast.parse(code)))
    imported = {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
    used = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    assert len(imported) > 5 and imported <= set(onnx_ml_bridge.__all__)
    assert imported <= used and {name for name in used if name[0].isupper()} <= imported


@pytest.mark.parametrize(("statuses", "code"), re.findall(r"^\| ((?:\d{3}, )*\d{3}) \| `(\w+)` \|", PAGE, re.MULTILINE))
def test_its_table_of_statuses_is_that_of_the_code(statuses, code):
    for status in map(int, statuses.split(", ")):
        assert refused(status, b"no", {}, "a model").error.code == code


def test_the_cases_of_the_contract_have_codes_of_the_page():
    assert {case["code"] for case in CASES if case["code"]} <= set(re.findall(r"`(\w+)`", PAGE)) | {"timeout"}

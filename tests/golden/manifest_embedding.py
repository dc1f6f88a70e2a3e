"""Manifest bytes by file name, made of the manifest of tiny-embedding, each with the code that readers must give."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from corrupting import changed_manifest, graph_of
from onnx_ml_bridge.artifacts.strict_json import canonical


def nested(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


def embedding_manifests(manifest: dict[str, Any]) -> dict[str, tuple[str | None, bytes]]:
    """Manifest bytes by file name, each with the code readers must give."""
    raw = canonical(manifest)

    def with_change(change: Callable[[dict[str, Any]], object]) -> bytes:
        return changed_manifest(manifest, change)

    def text(old: str, new: str) -> bytes:
        assert old in raw.decode()
        return raw.replace(old.encode(), new.encode(), 1)

    return {
        "valid.json": (None, raw),
        "valid-compact.json": (None, json.dumps(manifest).encode()),
        "empty.json": ("json", b""),
        "no-object.json": ("json", b"[]"),
        "trailing.json": ("json", raw + b"{}"),
        "truncated.json": ("json", raw[:-10]),
        "bom.json": ("json", b"\xef\xbb\xbf" + raw),
        "not-utf-8.json": ("json", text("tiny-embedding", "tiny-\xff").replace("tiny-\xff".encode(), b"tiny-\xff")),
        "duplicate-key.json": ("json", text('"task":', '"task": "x", "task":')),
        "duplicate-nested-key.json": ("json", text('"cases":', '"cases": 1, "cases":')),
        "nan.json": ("json", text('"smoothing_alpha": 0.7', '"smoothing_alpha": NaN')),
        "infinity.json": ("json", text('"smoothing_alpha": 0.7', '"smoothing_alpha": -Infinity')),
        "huge-float.json": ("json", text('"smoothing_alpha": 0.7', '"smoothing_alpha": 1e400')),
        "large-float.json": ("json", text('"smoothing_alpha": 0.7', '"smoothing_alpha": 1e17')),
        "large-integer.json": ("json", text('"dim": 16', '"dim": 9007199254740993')),
        "giant-integer.json": ("json", text('"dim": 16', '"dim": 1' + "0" * 400)),
        "lone-surrogate.json": ("json", text('"license": null', '"license": "\\ud800"')),
        "lone-surrogate-key.json": ("json", text('"license":', '"\\udc00":')),
        "control-character.json": ("json", text('"license": null', '"license": "a\tb"')),
        "comment.json": ("json", b"// comment\n" + raw),
        "single-quotes.json": ("json", text('"task":', "'task':")),
        "leading-zero.json": ("json", text('"dim": 16', '"dim": 016')),
        "plus-sign.json": ("json", text('"dim": 16', '"dim": +16')),
        "nested-33.json": ("json", nested(33)),
        "nested-20000.json": ("json", nested(20_000)),
        "nested-32.json": ("format_version", nested(32)),
        "paired-surrogates.json": (None, text('"license": null', '"license": "\\ud83d\\ude00"')),
        "format-missing.json": ("format_version", with_change(lambda m: m.pop("format_version"))),
        "format-newer.json": ("format_version", with_change(lambda m: m.update(format_version=2))),
        "format-string.json": ("format_version", with_change(lambda m: m.update(format_version="1"))),
        "format-float.json": ("format_version", with_change(lambda m: m.update(format_version=1.0))),
        "format-true.json": ("format_version", with_change(lambda m: m.update(format_version=True))),
        "format-newer-and-unknown-key.json": ("format_version", with_change(lambda m: m.update(format_version=9, x=1))),
        "format-zero.json": ("schema", with_change(lambda m: m.update(format_version=0))),
        "revision-newer.json": ("format_version", with_change(lambda m: m.update(task_revision=2))),
        "revision-float.json": ("schema", with_change(lambda m: m.update(task_revision=1.0))),
        "task-unknown.json": ("schema", with_change(lambda m: m.update(task="mind-reading"))),
        "key-unknown.json": ("schema", with_change(lambda m: m.update(extra=1))),
        "key-unknown-nested.json": ("schema", with_change(lambda m: m["tokenizer"].update(extra=1))),
        "key-missing.json": ("schema", with_change(lambda m: m.pop("tokenizer"))),
        "integer-as-float.json": ("schema", with_change(lambda m: m["embedding"].update(dim=16.0))),
        "dimension-as-float.json": ("schema", with_change(lambda m: graph_of(m)["outputs"][1].update(dims=["b", 1.0]))),
        "minus-zero.json": ("schema", text('"tokens": 3', '"tokens": -0')),
        "integer-as-string.json": ("schema", with_change(lambda m: m["embedding"].update(dim="16"))),
        "dim-zero.json": ("schema", with_change(lambda m: m["embedding"].update(dim=0))),
        "no-variants.json": ("schema", with_change(lambda m: m.update(variants={}))),
        "pooling-unknown.json": ("schema", with_change(lambda m: m["embedding"].update(pooling=["median"]))),
        "gate-empty.json": ("schema", with_change(lambda m: m["variants"]["fp32"].update(gate={}))),
        "hash-upper-case.json": ("schema", with_change(lambda m: m["source"].update(weights_sha256="A" * 64))),
        "default-prompt-unknown.json": ("schema", with_change(lambda m: m["embedding"].update(default_prompt="x"))),
        "graph-not-listed.json": ("schema", with_change(lambda m: graph_of(m).update(file="onnx/other.onnx"))),
        "golden-not-listed.json": ("schema", with_change(lambda m: m["golden"].update(file="other.jsonl"))),
        **{
            f"path-{name}.json": ("schema", with_change(lambda m, path=path: add_file(m, path)))
            for name, path in HOSTILE_PATHS.items()
        },
        "path-harmless.json": (None, with_change(lambda m: add_file(m, "a/console.log"))),
    }


HOSTILE_PATHS = {
    "absolute": "/etc/passwd",
    "parent": "../x",
    "parent-inside": "onnx/../../x",
    "drive": "C:/x",
    "backslash": "a\\b",
    "empty": "",
    "dot": ".",
    "hidden": ".git",
    "slash-at-end": "a/",
    "double-slash": "a//b",
    "reserved": "nul",
    "reserved-with-suffix": "onnx/COM1.txt",
    "dot-at-end": "a.",
    "newline": "a\n",
    "space": "a b",
    "zero": "a\0b",
    "colon": "a:b",
    "manifest": "manifest.json",
    "case-alone": "Config.json",
    "too-long": "a" * 256,
    "accent": "\u00e9",
    "dash-first": "-rf",
    "tilde": "~root",
}


def add_file(manifest: dict[str, Any], path: str) -> None:
    manifest["files"][path] = {"sha256": "0" * 64, "size": 0}

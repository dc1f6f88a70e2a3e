"""What is wrong with each folder of invalid/ that is a copy of tiny-embedding, and the code it must be refused with."""

from __future__ import annotations

import json
from typing import Any

import onnx
from corrupting import Corrupt, edit_case, edit_file, edit_graph, edit_manifest, flip, graph_of, relisted


def extra_output(model: onnx.ModelProto) -> None:
    model.graph.output.append(
        onnx.helper.make_tensor_value_info("input_ids", onnx.TensorProto.INT64, ["batch", "tokens"])
    )


def declare_extra_output(manifest: dict[str, Any]) -> None:
    graph_of(manifest)["outputs"].append({"name": "input_ids", "dtype": "int64", "dims": ["batch", "tokens"]})


def other_vocabulary(raw: bytes) -> bytes:
    tokenizer = json.loads(raw)
    tokenizer["model"]["vocab"]["extra"] = len(tokenizer["model"]["vocab"])
    return json.dumps(tokenizer).encode()


INVALID: dict[str, tuple[str, Corrupt]] = {
    "manifest-missing": ("path_kind", lambda folder: (folder / "manifest.json").unlink()),
    "manifest-hash-missing": ("path_kind", lambda folder: (folder / "manifest.sha256").unlink()),
    "manifest-flipped": ("manifest_hash", edit_file("manifest.json", flip(100))),
    "manifest-hash-flipped": ("manifest_hash", edit_file("manifest.sha256", flip(10))),
    "manifest-hash-no-newline": ("manifest_hash", edit_file("manifest.sha256", lambda raw: raw.rstrip())),
    "file-missing": ("file_set", lambda folder: (folder / "config.json").unlink()),
    "file-extra": ("file_set", lambda folder: (folder / "extra.txt").write_text("x") and None),
    "file-truncated": ("size", edit_file("tokenizer.json", lambda raw: raw[:-1])),
    "file-grown": ("size", edit_file("golden.jsonl", lambda raw: raw + b"\n")),
    "file-flipped": ("file_hash", edit_file("tokenizer.json", flip(500))),
    "graph-flipped": ("file_hash", edit_file("onnx/model.onnx", flip(5000))),
    "weights-flipped": ("file_hash", edit_file("onnx/model_int8.onnx_data", flip(1))),
    "graph-garbage": ("graph", relisted(edit_file("onnx/model.onnx", lambda raw: b"not a protobuf at all" * 40))),
    "graph-truncated": ("graph", relisted(edit_file("onnx/model.onnx", lambda raw: raw[: len(raw) // 2]))),
    "graph-other-input": ("graph", edit_manifest(lambda m: graph_of(m)["inputs"][0].update(name="ids"))),
    "graph-other-dtype": ("graph", edit_manifest(lambda m: graph_of(m)["inputs"][0].update(dtype="int32"))),
    "graph-other-rank": ("graph", edit_manifest(lambda m: graph_of(m)["outputs"][1]["dims"].append(3))),
    "graph-other-opset": ("graph", edit_manifest(lambda m: graph_of(m)["domains"].update({"": 99}))),
    "graph-unlisted-data": (
        "graph",
        relisted(edit_file("onnx/model.onnx", lambda raw: raw.replace(b"model.onnx_data", b"../../onnx_data"))),
    ),
    "tokenizer-garbage": ("tokenizer", relisted(edit_file("tokenizer.json", lambda raw: b"{}"))),
    "tokenizer-other-vocabulary": ("tokenizer", relisted(edit_file("tokenizer.json", other_vocabulary))),
    "tokenizer-other-padding": ("tokenizer", edit_manifest(lambda m: m["tokenizer"].update(pad_token_id=1))),
    "graph-extra-output": ("graph", edit_graph(extra_output, declare_extra_output)),
    "graph-no-token-embeddings": (
        "graph",
        edit_graph(lambda m: m.graph.output.pop(0), lambda m: graph_of(m)["outputs"].pop(0)),
    ),
    "graph-undeclared-domain": ("graph", edit_graph(lambda m: setattr(m.graph.node[0], "domain", "com.example"))),
    "graph-domain-twice": ("graph", edit_graph(lambda m: m.opset_import.extend(list(m.opset_import)))),
    "golden-other-vector": (
        "golden",
        edit_case(lambda c: c["expected"].update(vector=[-1.0] * 16)),
    ),
    "golden-other-tokens": (
        "golden",
        edit_case(lambda c: c["expected"].update(tokens=1)),
    ),
    "golden-tokens-as-float": (
        "golden",
        edit_case(lambda c: c["expected"].update(tokens=float(c["expected"]["tokens"]))),
    ),
    "golden-unknown-prompt": (
        "golden",
        edit_case(lambda c: c["settings"].update(prompt_name="nobody")),
    ),
    "golden-unknown-group": ("golden", edit_case(lambda c: c.update(group="x"))),
    "golden-unknown-key": ("golden", edit_case(lambda c: c.update(extra=1))),
    "golden-too-few": ("golden", edit_manifest(lambda m: m["golden"].update(cases=m["golden"]["cases"] + 1))),
}

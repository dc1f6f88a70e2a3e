"""Makes the committed examples in this folder: one small artifact, and what readers must refuse.

    python tests/golden/make.py

valid/NAME/ are artifacts, invalid/NAME/ are artifacts with one thing wrong, and invalid.json names the code that every
reader must give. manifests/ holds manifest bytes alone; manifests.json names the code, or null where there is nothing
to refuse. The Python and the Rust tests read the same files.

The model is random and tiny: what matters here is the format, not the vectors.
"""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx_ml_bridge.artifacts.strict_json import canonical
from onnx_ml_bridge.cli.build import build
from onnx_ml_bridge.cli.config import ModelConfig
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules.normalize import Normalize
from sentence_transformers.base.modules.transformer import Transformer
from sentence_transformers.sentence_transformer.modules.pooling import Pooling
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, BertTokenizerFast

HERE = Path(__file__).parent
NAME = "tiny-embedding"
WORDS = [
    *[
        "the",
        "a",
        "on",
        "in",
        "red",
        "green",
        "blue",
        "cat",
        "dog",
        "house",
        "tree",
        "runs",
        "sleeps",
        "sings",
        "big",
        "small",
        "and",
        "not",
    ],
    "##s",
    "##ing",
    *".,!?",
]
LETTERS = [prefix + letter for letter in "abcdefghijklmnopqrstuvwxyz0123456789" for prefix in ("", "##")]
LOOSE = {"cosine_min": 0.9, "cosine_mean": 0.9, "cosine_min_hard": 0.8, "cosine_mean_hard": 0.8}


def make_source(folder: Path) -> None:
    """A BERT of 2 layers and 16 channels with a WordPiece vocabulary of about 100 entries, mean pooling, prompts."""
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(WORDS + LETTERS)]
    tokenizer = Tokenizer(models.WordPiece({token: i for i, token in enumerate(vocab)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    fast = BertTokenizerFast(tokenizer_object=tokenizer, model_max_length=48)
    torch.manual_seed(7)
    config = BertConfig(vocab_size=len(vocab), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                        intermediate_size=32, max_position_embeddings=48, initializer_range=0.2)  # fmt: skip
    plain = folder / "plain"
    BertModel(config).save_pretrained(plain)
    fast.save_pretrained(plain)
    parts = [Transformer(str(plain)), Pooling(16, "mean"), Normalize()]
    prompts = {"query": "the big ", "document": ""}
    SentenceTransformer(modules=parts, device="cpu", prompts=prompts).save(str(folder / "model"))


def seal_by_hand(folder: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest, right or wrong, with its matching hash."""
    (folder / "manifest.json").write_bytes(canonical(manifest))
    hash_by_hand(folder)


def hash_by_hand(folder: Path) -> None:
    digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    (folder / "manifest.sha256").write_text(f"{digest}  manifest.json\n")


def relist(folder: Path) -> None:
    """List the files as they are now, so that only what they hold is wrong."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    for name, entry in manifest["files"].items():
        raw = (folder / name).read_bytes()
        entry |= {"size": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    seal_by_hand(folder, manifest)


def edit_file(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return apply


def relisted(change: Callable[[Path], None]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        change(folder)
        relist(folder)

    return apply


def edit_manifest(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        change(manifest)
        seal_by_hand(folder, manifest)

    return apply


def flip(position: int) -> Callable[[bytes], bytes]:
    def apply(raw: bytes) -> bytes:
        place = position % len(raw)
        return raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]

    return apply


def edit_graph(
    change: Callable[[onnx.ModelProto], object], declare: Callable[[dict[str, Any]], object] = lambda manifest: None
) -> Callable[[Path], None]:
    """Change the fp32 graph, list it as it then is, and declare the change in the manifest."""

    def apply(folder: Path) -> None:
        path = folder / "onnx/model.onnx"
        model = onnx.load(path, load_external_data=False)
        change(model)
        path.write_bytes(model.SerializeToString(deterministic=True))
        edit_manifest(declare)(folder)
        relist(folder)

    return apply


def extra_output(model: onnx.ModelProto) -> None:
    model.graph.output.append(
        onnx.helper.make_tensor_value_info("input_ids", onnx.TensorProto.INT64, ["batch", "tokens"])
    )


def declare_extra_output(manifest: dict[str, Any]) -> None:
    graph_of(manifest)["outputs"].append({"name": "input_ids", "dtype": "int64", "dims": ["batch", "tokens"]})


def edit_case(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """Change the first golden case."""

    def apply(raw: bytes) -> bytes:
        first, *others = raw.decode().splitlines()
        case = json.loads(first)
        change(case)
        return "\n".join([json.dumps(case), *others, ""]).encode()

    return apply


def graph_of(manifest: dict[str, Any]) -> dict[str, Any]:
    graph: dict[str, Any] = manifest["variants"]["fp32"]["graphs"]["encoder"]
    return graph


def other_vocabulary(raw: bytes) -> bytes:
    tokenizer = json.loads(raw)
    tokenizer["model"]["vocab"]["extra"] = len(tokenizer["model"]["vocab"])
    return json.dumps(tokenizer).encode()


INVALID: dict[str, tuple[str, Callable[[Path], None]]] = {
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
        relisted(edit_file("golden.jsonl", edit_case(lambda c: c["expected"].update(vector=[-1.0] * 16)))),
    ),
    "golden-other-tokens": (
        "golden",
        relisted(edit_file("golden.jsonl", edit_case(lambda c: c["expected"].update(tokens=1)))),
    ),
    "golden-tokens-as-float": (
        "golden",
        relisted(
            edit_file("golden.jsonl", edit_case(lambda c: c["expected"].update(tokens=float(c["expected"]["tokens"]))))
        ),
    ),
    "golden-unknown-prompt": (
        "golden",
        relisted(edit_file("golden.jsonl", edit_case(lambda c: c["settings"].update(prompt_name="nobody")))),
    ),
    "golden-unknown-group": ("golden", relisted(edit_file("golden.jsonl", edit_case(lambda c: c.update(group="x"))))),
    "golden-unknown-key": ("golden", relisted(edit_file("golden.jsonl", edit_case(lambda c: c.update(extra=1))))),
    "golden-too-few": ("golden", edit_manifest(lambda m: m["golden"].update(cases=m["golden"]["cases"] + 1))),
}


def nested(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


def manifest_cases(manifest: dict[str, Any]) -> dict[str, tuple[str | None, bytes]]:
    """Manifest bytes by file name, each with the code readers must give."""
    raw = canonical(manifest)

    def with_change(change: Callable[[dict[str, Any]], object]) -> bytes:
        changed = copy.deepcopy(manifest)
        change(changed)
        return canonical(changed)

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
        **{f"path-{name}.json": ("schema", with_change(lambda m, path=path: add_file(m, path)))
           for name, path in HOSTILE_PATHS.items()},
        "path-harmless.json": (None, with_change(lambda m: add_file(m, "a/console.log"))),
    }  # fmt: skip


HOSTILE_PATHS = {
    "absolute": "/etc/passwd", "parent": "../x", "parent-inside": "onnx/../../x", "drive": "C:/x", "backslash": "a\\b",
    "empty": "", "dot": ".", "hidden": ".git", "slash-at-end": "a/", "double-slash": "a//b", "reserved": "nul",
    "reserved-with-suffix": "onnx/COM1.txt", "dot-at-end": "a.", "newline": "a\n", "space": "a b", "zero": "a\0b",
    "colon": "a:b", "manifest": "manifest.json", "case-alone": "Config.json", "too-long": "a" * 256, "accent": "\u00e9",
    "dash-first": "-rf", "tilde": "~root",
}  # fmt: skip


def add_file(manifest: dict[str, Any], path: str) -> None:
    manifest["files"][path] = {"sha256": "0" * 64, "size": 0}


def main() -> None:
    for folder in ("valid", "invalid", "manifests"):
        shutil.rmtree(HERE / folder, ignore_errors=True)
    valid = HERE / "valid" / NAME
    with tempfile.TemporaryDirectory() as temporary:
        make_source(Path(temporary))
        model = ModelConfig(name=NAME, version="1.0.0", task="sentence-embedding",
                            source=f"path:{temporary}/model", gate={"int8": LOOSE})  # fmt: skip
        built = build(model, Path(temporary) / "dist", lambda stage: print(stage, file=sys.stderr))
        shutil.copytree(str(built.path), valid)
    for name, (_, spoil) in INVALID.items():
        shutil.copytree(valid, HERE / "invalid" / name)
        spoil(HERE / "invalid" / name)
    manifest = json.loads((valid / "manifest.json").read_bytes())
    cases = manifest_cases(manifest)
    (HERE / "manifests").mkdir()
    for name, (_, raw) in cases.items():
        (HERE / "manifests" / name).write_bytes(raw)
    (HERE / "invalid.json").write_bytes(canonical({name: code for name, (code, _) in INVALID.items()}))
    (HERE / "manifests.json").write_bytes(canonical({name: code for name, (code, _) in cases.items()}))


if __name__ == "__main__":
    main()

"""Summarization artifacts with simple graphs, whose summaries can be computed by hand.

The tokenizer has one token for every byte. The copying graph returns the start token and the tokens of the text, cut to
`max_length`: with `max_length` 8, the summary of `a long text` is `a long` (start token, `<s>`, six bytes).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx_ml_bridge import Summarizer
from onnx_ml_bridge.artifacts.constants import FORMAT_VERSION, GOLDEN, MODEL_CARD, PARITY
from onnx_ml_bridge.artifacts.families.summarization import (
    SUMMARIZATION,
    ExpectedSummary,
    FixedGeneration,
    GenerationDefaults,
    SummarizationSpec,
    SummaryCase,
)
from onnx_ml_bridge.artifacts.golden import write_golden
from onnx_ml_bridge.artifacts.manifest import GoldenSpec, Graph, Machine, Manifest, ParitySpec, Source, Tensor, Variant
from onnx_ml_bridge.artifacts.manifest_sections import TokenizerSpec
from onnx_ml_bridge.artifacts.seal import list_files, seal, staging_for
from onnx_ml_bridge.runtime.summarization.summarizer import BeamSearchSummarizer, SummarizationModel
from onnx_ml_bridge.runtime.tokenizer import TextTokenizer
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

START, PAD, EOS = 2, 1, 2
MAX_TOKENS, MAX_TARGET = 34, 64
DEFAULTS = GenerationDefaults(num_beams=4, min_length=0, max_length=32, length_penalty=2.0)
SPEC = SummarizationSpec(" ", START, EOS, MAX_TARGET, DEFAULTS, FixedGeneration(3, True, 0, 2))
_IR, _OPSET = 10, 20
_INT, _FLOAT = TensorProto.INT64, TensorProto.FLOAT
INPUTS = {
    "input_ids": (_INT, ["batch", "tokens"]),
    "attention_mask": (_INT, ["batch", "tokens"]),
    "num_beams": (_INT, [1]),
    "min_length": (_INT, [1]),
    "max_length": (_INT, [1]),
    "length_penalty": (_FLOAT, [1]),
}
OUTPUTS = {"sequences": (_INT, ["batch", "length"]), "sequences_scores": (_FLOAT, ["batch"])}
_NAMES = {_INT: "int64", _FLOAT: "float32"}
CASES = [["A ferry crossed the strait.", "It was late."], ["Short."], ["Öl und Kaffee 🙂"]]


def copying_graph(start: int = START) -> onnx.ModelProto:
    """Return a graph that copies the text; its score is -(number of tokens) * length_penalty / num_beams."""
    nodes = [
        helper.make_node("Shape", ["input_ids"], ["rows"], start=0, end=1),
        helper.make_node("Concat", ["rows", "one"], ["column"], axis=0),
        helper.make_node("Expand", ["start", "column"], ["starts"]),
        helper.make_node("Concat", ["starts", "input_ids"], ["whole"], axis=1),
        helper.make_node("Slice", ["whole", "zero", "max_length", "one"], ["sequences"]),
        helper.make_node("ReduceSum", ["attention_mask", "one"], ["count"], keepdims=0),
        helper.make_node("Cast", ["count"], ["tokens_float"], to=_FLOAT),
        helper.make_node("Cast", ["num_beams"], ["beams"], to=_FLOAT),
        helper.make_node("Mul", ["tokens_float", "length_penalty"], ["penalized"]),
        helper.make_node("Div", ["penalized", "beams"], ["shared"]),
        helper.make_node("Neg", ["shared"], ["sequences_scores"]),
    ]
    return _model(nodes, {"one": [1], "zero": [0], "start": [[start]]})


def endless_graph() -> onnx.ModelProto:
    """Return a graph that runs a loop for hours before it copies the text."""
    counted = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Add", ["sum", "turn_one"], ["next_sum"])],
        "turn",
        [counted("turn", _INT, []), counted("go", TensorProto.BOOL, []), counted("sum", _INT, [1])],
        [counted("go_on", TensorProto.BOOL, []), counted("next_sum", _INT, [1])],
        [helper.make_tensor("turn_one", _INT, [1], [1])],
    )
    graph = copying_graph()
    loop = helper.make_node("Loop", ["turns", "", "zero"], ["turned"], body=body)
    graph.graph.node.insert(0, loop)
    slicing = next(node for node in graph.graph.node if node.op_type == "Slice")
    waiting = [
        helper.make_node("Mul", ["turned", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "max_length"], ["limit"]),
    ]
    for node in reversed(waiting):
        graph.graph.node.insert(1, node)
    slicing.input[2] = "limit"
    graph.graph.initializer.append(helper.make_tensor("turns", _INT, [], [1 << 40]))
    onnx.checker.check_model(graph)
    return graph


def save_tokenizer(folder: Path) -> TokenizerSpec:
    """Write a byte-level tokenizer.json without merges, with BART's special tokens."""
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({word: index for index, word in enumerate(specials + letters)}, []))
    tokenizer.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in specials])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return TokenizerSpec("tokenizer.json", 260, MAX_TOKENS, "right", "<pad>", PAD)


def make_model(
    folder: Path,
    graph: onnx.ModelProto | None = None,
    spec: SummarizationSpec = SPEC,
    save: Callable[[Path], TokenizerSpec] = save_tokenizer,
) -> SummarizationModel:
    """Return a model in a plain folder, without an artifact; `save` writes its tokenizer."""
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    tokenizer = save(folder)
    onnx.save(graph or copying_graph(), folder / "onnx" / "model.onnx")
    texts = TextTokenizer(folder / tokenizer.file, tokenizer)
    return SummarizationModel(folder, "small", "1", "fp32", _described(), spec, texts)


def make_artifact(
    target: Path,
    graph: onnx.ModelProto | None = None,
    cases: list[SummaryCase] | None = None,
    gate: dict[str, float] | None = None,
    spec: SummarizationSpec = SPEC,
    save: Callable[[Path], TokenizerSpec] = save_tokenizer,
) -> Path:
    """Return a sealed artifact whose golden cases have the summaries of the copying graph."""
    with staging_for(target) as staging:
        model = make_model(staging, graph, spec, save)
        chosen = cases or golden_cases(make_model(target.parent / "copying"))
        write_golden(chosen, staging / GOLDEN)
        (staging / PARITY).write_text("{}\n")
        (staging / MODEL_CARD).write_text("A copy.\n")
        manifest = Manifest(
            format_version=FORMAT_VERSION,
            task=SUMMARIZATION.task,
            task_revision=SUMMARIZATION.revision,
            engine=SUMMARIZATION.engine,
            name="small",
            version="1",
            source=Source("path", "small", None, "0" * 64, None),
            builder={"onnx-ml-bridge": "0.1.0"},
            variants={"fp32": Variant({"generate": _described()}, gate or {"differing": 0.0}, None)},
            golden=GoldenSpec(GOLDEN, len(chosen)),
            parity=ParitySpec(PARITY, 1, Machine("none", (), 1), {"fp32": {"differing": 0.0}}),
            files=list_files(staging),
            sections={"tokenizer": model.tokenizer.spec, "summarization": spec},
        )
        seal(staging, manifest, target)
    return target


def golden_cases(model: SummarizationModel) -> list[SummaryCase]:
    """Return golden cases with the summaries of `CASES`."""
    found = Summarizer(BeamSearchSummarizer(model)).summarize(CASES)
    return [
        SummaryCase(tuple(case), DEFAULTS, ExpectedSummary(each.text, each.token_ids), each.truncated, {})
        for case, each in zip(CASES, found, strict=True)
    ]


def _described() -> Graph:
    inputs, outputs = (
        tuple(Tensor(name, _NAMES[kind], tuple(dims)) for name, (kind, dims) in expected.items())
        for expected in (INPUTS, OUTPUTS)
    )
    return Graph("onnx/model.onnx", _IR, {"": _OPSET}, "1.18", inputs, outputs)


def _model(nodes: list[onnx.NodeProto], constants: dict[str, list]) -> onnx.ModelProto:
    inputs, outputs = (
        [helper.make_tensor_value_info(name, kind, dims) for name, (kind, dims) in expected.items()]
        for expected in (INPUTS, OUTPUTS)
    )
    tensors = [onnx.numpy_helper.from_array(np.array(value, np.int64), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "main", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    onnx.checker.check_model(model)
    return model

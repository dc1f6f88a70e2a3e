"""What a graph of each role takes and gives; FORMAT.md says what the values mean."""

from __future__ import annotations

from dataclasses import dataclass

from .manifest import Graph, Tensor


@dataclass(frozen=True)
class Interface:
    """Element type and number of dimensions of every input and output by name."""

    required: dict[str, tuple[str, int]]
    optional: dict[str, tuple[str, int]]
    outputs: dict[str, tuple[str, int]]


_SPACY_TYPES = Interface(
    required={"rows": ("int32", 2)},
    optional={"vectors": ("int32", 1)},
    outputs={"embedded": ("float32", 2), "contributions": ("float32", 3)},
)
ROLES = {
    "encoder": Interface(
        required={"input_ids": ("int64", 2), "attention_mask": ("int64", 2)},
        optional={"token_type_ids": ("int64", 2), "prompt_length": ("int64", 1)},
        outputs={"token_embeddings": ("float32", 3), "sentence_embedding": ("float32", 2)},
    ),
    "token_classifier": Interface(
        required={"input_ids": ("int64", 2), "attention_mask": ("int64", 2)},
        optional={"token_type_ids": ("int64", 2)},
        outputs={"logits": ("float32", 3)},
    ),
    "generate": Interface(
        required={
            "input_ids": ("int64", 2),
            "attention_mask": ("int64", 2),
            "num_beams": ("int64", 1),
            "min_length": ("int64", 1),
            "max_length": ("int64", 1),
            "length_penalty": ("float32", 1),
        },
        optional={},
        outputs={"sequences": ("int64", 2), "sequences_scores": ("float32", 1)},
    ),
    "spacy_ner": Interface(
        required={
            "embedded": ("float32", 2),
            "preactivation": ("float32", 2),
            "is_space": ("bool", 1),
            "is_last": ("bool", 1),
        },
        optional={},
        outputs={
            "label": ("int32", 1),
            "begins": ("bool", 1),
            "current": ("float32", 2),
            "first": ("float32", 2),
            "previous": ("float32", 2),
        },
    ),
    "spacy_ner_types": _SPACY_TYPES,
    "spacy_parser": Interface(
        required={"embedded": ("float32", 2), "preactivation": ("float32", 2)},
        optional={},
        outputs={"features": ("float32", 3)},
    ),
    "spacy_parser_types": _SPACY_TYPES,
}


def role_problems(role: str, graph: Graph) -> list[str]:
    """Why a graph, as declared, cannot play its role; empty when it can."""
    expected = ROLES[role]
    inputs, outputs = _kinds(graph.inputs), _kinds(graph.outputs)
    known = expected.required | expected.optional
    problems = [f"no input {name}" for name in expected.required if name not in inputs]
    problems += [
        f"an input {name} {kind}, not one of {known}" for name, kind in inputs.items() if known.get(name) != kind
    ]
    if (len(inputs), len(outputs)) != (len(graph.inputs), len(graph.outputs)):
        problems.append("an input or output of one name twice")
    if outputs != expected.outputs:
        problems.append(f"the outputs {outputs}, not {expected.outputs}")
    return problems


def _kinds(tensors: tuple[Tensor, ...]) -> dict[str, tuple[str, int]]:
    return {tensor.name: (tensor.dtype, len(tensor.dims)) for tensor in tensors}

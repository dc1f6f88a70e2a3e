"""Reads the weights of a spaCy transition-based component, after a check of its architecture.

The supported layers are those of spaCy's and thinc's standard model: MultiHashEmbed, MaxoutWindowEncoder, a linear
projection, the precomputable affine layer of a state with maxout (*lower*), and the layer of the scores (*upper*).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from thinc.api import Model

from ...artifacts.errors import BuildError
from ...artifacts.families.spacy_ner import HashColumn

Floats = NDArray[np.float32]
_ATTRIBUTES = frozenset({"ORTH", "NORM", "LOWER", "PREFIX", "SUFFIX", "SHAPE", "IS_SPACE", "SPACY"})
_EMBED_LAYERS = frozenset(
    {
        "dropout",
        "extract_features",
        "hashembed",
        "ints-getitem",
        "layernorm",
        "list2ragged",
        "maxout",
        "ragged2list",
        "static_vectors",
    }
)
_ENCODE_LAYERS = frozenset({"dropout", "expand_window", "layernorm", "maxout"})


@dataclass(frozen=True)
class Affine:
    """A linear layer: weight `[out, in]`, bias `[out]`."""

    weight: Floats
    bias: Floats


@dataclass(frozen=True)
class Maxout:
    """A maxout layer (maximum over pieces of each output) with layer normalization.

    Shapes: weight `[out, pieces, in]`, bias `[out, pieces]`; scale and bias of the normalization `[out]`.
    """

    weight: Floats
    bias: Floats
    norm_weight: Floats
    norm_bias: Floats


@dataclass(frozen=True)
class WindowLayer:
    """One residual layer of the encoder; its input is a token and `window` tokens on each side of it."""

    window: int
    maxout: Maxout


@dataclass(frozen=True)
class Network:
    """All weights of a component's model, float32.

    `tables[i]` is the embedding table of `columns[i]`, `[rows, width]`. `vectors` are the static vectors after their
    projection, `[n, width]`, or None. `lower` is `[features, hidden, pieces, in]`, its bias `[hidden, pieces]`, its
    padding `[features, hidden, pieces]`.
    """

    columns: tuple[HashColumn, ...]
    tables: tuple[Floats, ...]
    vectors: Floats | None
    mixer: Maxout
    encoder: tuple[WindowLayer, ...]
    project: Affine
    lower: Floats
    lower_bias: Floats
    lower_padding: Floats
    upper: Affine

    @property
    def width(self) -> int:
        """The size of the embedding of a word type, and of the vector of a token in every layer of the encoder."""
        return int(self.mixer.weight.shape[0])

    @property
    def context(self) -> int:
        """The number of tokens on each side of a token on which the token's output depends.

        Documents in one run are separated by this many padding tokens.
        """
        return sum(layer.window for layer in self.encoder)

    @property
    def hidden(self) -> int:
        """The number of values of the hidden layer that reads a state of the transition system."""
        return int(self.lower.shape[1])

    @property
    def pieces(self) -> int:
        """The number of maxout pieces of the hidden layer that reads a state of the transition system."""
        return int(self.lower.shape[2])


def read_network(nlp: Language, component: str) -> Network:
    """Return the network of the component `ner` or `parser`.

    :raises BuildError: with the code `unsupported_model`, naming everything that cannot be reproduced.
    """
    model = nlp.get_pipe(component).model
    problems = _state_problems(model)
    tok2vec = _tok2vec(nlp, model) if not problems else None
    if tok2vec is not None:
        problems += _tok2vec_problems(nlp, tok2vec)
    if problems:
        raise BuildError("unsupported_model", f"the component {component} has {'; '.join(problems)}")
    assert tok2vec is not None
    return _read(nlp, model, tok2vec)


def _state_problems(model: Model[Any, Any]) -> list[str]:
    if not model.attrs.get("has_upper", False):
        return ["no separate output layer (use_upper = false)"]
    problems = []
    if model.attrs.get("unseen_classes"):
        problems.append("labels that were added after training")
    if len(model.layers) != 3 or model.layers[1].name != "precomputable_affine":
        return [*problems, f"the layers {', '.join(layer.name for layer in model.layers)}"]
    features = model.layers[1].get_dim("nF")
    if features not in (3, 8):
        problems.append(f"states of {features} tokens (extra_state_tokens = true)")
    if model.layers[1].get_dim("nP") < 2:
        problems.append("a state layer with one maxout piece")
    return problems


def _tok2vec(nlp: Language, model: Model[Any, Any]) -> Model[Any, Any]:
    """Return the model that computes token vectors: the component's own, or the shared one that the component uses."""
    own = model.layers[0].layers[0]
    if own.name != "tok2vec-listener":
        return own
    upstream = getattr(own, "upstream_name", "tok2vec")
    for name in nlp.component_names:
        if name == upstream or (upstream == "*" and hasattr(nlp.get_pipe(name), "listening_components")):
            return nlp.get_pipe(name).model
    raise BuildError("unsupported_model", f"the component listens to {upstream!r}, which the pipeline does not have")


def _tok2vec_problems(nlp: Language, tok2vec: Model[Any, Any]) -> list[str]:
    if len(tok2vec.layers) != 2:
        return [f"token vectors from {tok2vec.name}, not from MultiHashEmbed and MaxoutWindowEncoder"]
    embed, encode = tok2vec.layers
    problems = [f"the embedding layer {name}" for name in _unknown_layers(embed, _EMBED_LAYERS)]
    problems += [f"the encoder layer {name}" for name in _unknown_layers(encode, _ENCODE_LAYERS)]
    if problems:
        return problems  # the checks below do not apply to other models, such as CharacterEmbed or transformers
    extractors = [layer for layer in embed.walk() if layer.name == "extract_features"]
    if len(extractors) != 1:
        return [f"{len(extractors)} feature extractors"]
    names = [_attribute(nlp, column) for column in extractors[0].attrs["columns"]]
    problems += [f"the attribute {name}" for name in names if name not in _ATTRIBUTES]
    if any(layer.name == "static_vectors" for layer in embed.walk()):
        problems += _vector_problems(nlp, embed)
    return problems


def _unknown_layers(model: Model[Any, Any], known: frozenset[str]) -> list[str]:
    return sorted({layer.name for layer in model.walk() if not layer.layers and layer.name not in known})


def _vector_problems(nlp: Language, embed: Model[Any, Any]) -> list[str]:
    vectors = nlp.vocab.vectors
    mode = getattr(vectors, "mode", type(vectors).__name__)
    if mode != "default":
        return [f"{mode} vectors, which are no table with a row per word"]
    attribute = getattr(vectors, "attr", None)
    if attribute is not None and nlp.vocab.strings[attribute] != "ORTH":
        return [f"vectors looked up by {nlp.vocab.strings[attribute]}"]
    return []


def _attribute(nlp: Language, column: int | str) -> str:
    return column if isinstance(column, str) else str(nlp.vocab.strings[column])


def _read(nlp: Language, model: Model[Any, Any], tok2vec: Model[Any, Any]) -> Network:
    embed, encode = tok2vec.layers
    linear = model.layers[0].layers[-1]
    lower, upper = model.layers[1:]
    names = [_attribute(nlp, column) for column in _named(embed, "extract_features")[0].attrs["columns"]]
    hashes = _named(embed, "hashembed")
    columns = tuple(
        HashColumn(names[layer.attrs["column"]], int(layer.get_param("E").shape[0]), int(layer.attrs["seed"]))
        for layer in hashes
    )
    return Network(
        columns=columns,
        tables=tuple(_floats(layer, "E") for layer in hashes),
        vectors=_projected_vectors(nlp, embed),
        mixer=_maxout(_named(embed, "maxout")[0], _named(embed, "layernorm")[0]),
        encoder=_encoder(encode),
        project=Affine(_floats(linear, "W"), _floats(linear, "b")),
        lower=_floats(lower, "W"),
        lower_bias=_floats(lower, "b"),
        lower_padding=_floats(lower, "pad")[0],
        upper=Affine(_floats(upper, "W"), _floats(upper, "b")),
    )


def _encoder(encode: Model[Any, Any]) -> tuple[WindowLayer, ...]:
    triples = zip(_named(encode, "expand_window"), _named(encode, "maxout"), _named(encode, "layernorm"), strict=True)
    layers = tuple(
        WindowLayer(int(window.attrs["window_size"]), _maxout(maxout, norm)) for window, maxout, norm in triples
    )
    if encode.attrs.get("pad", 0) != sum(layer.window for layer in layers):
        raise BuildError("unsupported_model", "the encoder's padding is not the sum of its windows")
    return layers


def _projected_vectors(nlp: Language, embed: Model[Any, Any]) -> Floats | None:
    layers = _named(embed, "static_vectors")
    if not layers:
        return None
    data = np.asarray(nlp.vocab.vectors.data, np.float32)
    return np.ascontiguousarray(data @ _floats(layers[0], "W").T)


def _named(model: Model[Any, Any], name: str) -> list[Model[Any, Any]]:
    return [layer for layer in model.walk() if layer.name == name]


def _maxout(layer: Model[Any, Any], norm: Model[Any, Any]) -> Maxout:
    return Maxout(_floats(layer, "W"), _floats(layer, "b"), _floats(norm, "G"), _floats(norm, "b"))


def _floats(layer: Model[Any, Any], name: str) -> Floats:
    return np.ascontiguousarray(layer.get_param(name), np.float32)

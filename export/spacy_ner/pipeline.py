"""Exports the entity recognizer of a spaCy pipeline: graphs, tokenizer rules and tables.

`load_pipeline` loads a pipeline from a folder. `export_pipeline` exports a loaded pipeline, so that tests can export
small ones.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import spacy
from numpy.typing import NDArray
from safetensors.numpy import save
from spacy.attrs import IDS
from spacy.language import Language
from spacy.pipeline import DependencyParser, EntityRecognizer

from ...artifacts import strict_json
from ...artifacts.constants import EXACT, SPACY_RULES, SPACY_TABLES, graph_file
from ...artifacts.errors import BuildError
from ...artifacts.families.spacy_ner import SpacyNer, SpacyParser, SpacySpec
from ...artifacts.originals import original_errors
from ...graphs.files import save_graph
from .encoder import build_types_graph
from .graphs import build_ner_graph, build_parser_graph
from .moves import NerMoves, ner_moves, parser_moves
from .network import Network, read_network
from .rules import describe_rules, norm_tables, tokenizer_problems

SENTENCES = ("none", "given", "parser")
# spaCy components that change neither entities nor tokens nor their norms; any other component is refused
_HARMLESS = frozenset(
    {
        "attribute_ruler",
        "entity_linker",
        "lemmatizer",
        "morphologizer",
        "parser",
        "senter",
        "sentencizer",
        "spancat",
        "tagger",
        "textcat",
        "textcat_multilabel",
        "tok2vec",
        "trainable_lemmatizer",
    }
)
_SENTENCE_SETTERS = frozenset({"parser", "senter", "sentencizer"})
# Attributes that no attribute ruler may set: those of entities, and those of lexemes that the parser or `ner` reads,
# which the vocabulary keeps for later texts
_LASTING_ATTRIBUTES = frozenset({"ENT_IOB", "ENT_TYPE", "IS_SPACE", "LOWER", "PREFIX", "SHAPE", "SUFFIX"})
# Attributes of tokens that an attribute ruler may set after `ner` has read them
_READ_ATTRIBUTES = frozenset({"NORM", "ORTH", "SPACY"})
_ATTRIBUTE_NAMES = {number: name for name, number in IDS.items()}

Tables = dict[str, NDArray[Any]]
# Maps a role to a graph and the path of its file
Graphs = dict[str, tuple[ir.Model, str]]


@dataclass(frozen=True)
class SpacyExport:
    """An exported pipeline: the saved graph and its file by role, and the section of the manifest."""

    graphs: Graphs
    spec: SpacySpec


def load_pipeline(folder: Path) -> Language:
    """Load a pipeline from the folder of its config.cfg.

    :raises BuildError: with the code `source`, if spaCy cannot load it.
    """
    try:
        with warnings.catch_warnings():
            # Warnings about models of older spaCy versions are hidden, because the parity stage compares the entities
            warnings.simplefilter("ignore")
            return spacy.load(folder)
    except Exception as error:  # spaCy raises exceptions of any class for damaged files
        raise BuildError(
            "source",
            f"spaCy cannot load {folder.name}: {error}",
            hint="Pipelines with components of their own code are not supported.",
        ) from error


def export_pipeline(nlp: Language, staging: Path, sentences: str = "none") -> SpacyExport:
    """Write the graphs, spacy_tokenizer.json and tables.safetensors of a loaded pipeline into `staging`.

    :param sentences: the source of sentence starts, which no entity crosses: `none`, `given` or `parser` (FORMAT.md).
    :raises BuildError: with the code `unsupported_model`, naming what cannot be reproduced.
    """
    with original_errors("spaCy"):
        problems = _pipeline_problems(nlp, sentences) + tokenizer_problems(nlp)
    if problems:
        raise BuildError("unsupported_model", f"the pipeline has {'; '.join(problems)}")
    with original_errors("spaCy"):
        moves, network = ner_moves(nlp.get_pipe("ner")), read_network(nlp, "ner")
    graphs = {
        "spacy_ner": (build_ner_graph(network, moves), graph_file("model", EXACT)),
        "spacy_ner_types": (build_types_graph(network), graph_file("types", EXACT)),
    }
    tables = _ner_tables(network, moves)
    parser = _add_parser(nlp, graphs, tables) if sentences == "parser" else None
    if network.vectors is not None or (parser is not None and parser.vectors):
        tables |= _vector_tables(nlp)
    tables["norm.keys"], tables["norm.values"] = norm_tables(nlp)
    _write(nlp, graphs, tables, staging)
    ner = SpacyNer(**_network_fields(network), tie=moves.tie)
    spec = SpacySpec(nlp.lang, moves.labels, sentences, SPACY_RULES, SPACY_TABLES, ner, parser)
    return SpacyExport(graphs, spec)


def _add_parser(nlp: Language, graphs: Graphs, tables: Tables) -> SpacyParser:
    """Add the parser's graphs and tables, and return its section of the manifest."""
    with original_errors("spaCy"):
        network, moves = read_network(nlp, "parser"), parser_moves(nlp.get_pipe("parser"))
    graphs["spacy_parser"] = (build_parser_graph(network), graph_file("parser", EXACT))
    graphs["spacy_parser_types"] = (build_types_graph(network), graph_file("parser_types", EXACT))
    tables |= _parser_tables(network)
    return SpacyParser(**_network_fields(network), moves=moves)


def _write(nlp: Language, graphs: Graphs, tables: Tables, staging: Path) -> None:
    # spacy_tokenizer.json is written without line breaks, because people do not read it
    (staging / SPACY_RULES).write_bytes(strict_json.canonical_line(describe_rules(nlp)))
    # `save_file` of safetensors would create a file that only its owner can read
    (staging / SPACY_TABLES).write_bytes(save({name: np.ascontiguousarray(tables[name]) for name in sorted(tables)}))
    for graph, file in graphs.values():
        save_graph(graph, staging, file)


def _pipeline_problems(nlp: Language, sentences: str) -> list[str]:
    if "ner" not in nlp.pipe_names:
        return [f"no component called ner (its components: {', '.join(nlp.pipe_names) or 'none'})"]
    ner = nlp.get_pipe("ner")
    problems = []
    if type(ner) is not EntityRecognizer:
        problems.append(f"an entity recognizer of the class {type(ner).__name__}")
    elif ner.cfg["beam_width"] != 1:
        problems.append("an entity recognizer that searches with a beam (beam_ner); train it with the factory `ner`")
    factories = {name: nlp.get_pipe_meta(name).factory for name in nlp.pipe_names}
    problems += [
        f"a component {name} ({factory}) that may set entities or change tokens; remove it first"
        for name, factory in factories.items()
        if name != "ner" and factory not in _HARMLESS
    ]
    problems += _ruler_problems(nlp, factories, sentences)
    return problems + (_sentence_problems(nlp, factories) if sentences == "parser" else [])


def _sentence_problems(nlp: Language, factories: dict[str, str]) -> list[str]:
    """Return the reasons why sentence starts that `ner` reads in the pipeline may differ from those of the parser."""
    before = nlp.pipe_names[: nlp.pipe_names.index("ner")]
    setters = [name for name in before if factories[name] in _SENTENCE_SETTERS]
    if setters != ["parser"] or type(nlp.get_pipe("parser")) is not DependencyParser:
        return [
            f"sentence starts set by {', '.join(setters) or 'nothing'} before ner, not by the parser alone; "
            "use sentences = given or none"
        ]
    parser = nlp.get_pipe("parser")
    problems = []
    if parser.cfg["beam_width"] != 1:
        problems.append("a parser that searches with a beam")
    if parser.cfg.get("learn_tokens"):
        problems.append("a parser that merges tokens (learn_tokens = true)")
    return problems


def _ruler_problems(nlp: Language, factories: dict[str, str], sentences: str) -> list[str]:
    """Return the attribute rulers with which the pipeline may find other entities than the artifact."""
    before = nlp.pipe_names[: nlp.pipe_names.index("ner")]
    # The other sources of sentence starts leave out those of the pipeline anyway
    read = _READ_ATTRIBUTES | ({"SENT_START"} if sentences == "parser" else set())
    problems = []
    for name in nlp.pipe_names:
        if factories[name] == "attribute_ruler":
            refused = _LASTING_ATTRIBUTES | (read if name in before else set())
            if changed := _ruled_attributes(nlp.get_pipe(name)) & refused:
                side = "before" if name in before else "after"
                problems.append(f"an attribute ruler that sets {', '.join(sorted(changed))} {side} ner")
    return problems


def _ruled_attributes(ruler: Any) -> set[str]:
    return {_ATTRIBUTE_NAMES.get(attribute, "") for attributes in ruler.attrs for attribute in attributes}


def _network_fields(network: Network) -> dict[str, Any]:
    return {
        "columns": network.columns,
        "vectors": network.vectors is not None,
        "context": network.context,
        "hidden": network.hidden,
        "pieces": network.pieces,
    }


def _ner_tables(network: Network, moves: NerMoves) -> Tables:
    weight, bias = network.upper.weight, network.upper.bias
    return {
        "ner.bias": network.lower_bias.T.reshape(-1),
        "ner.in.weight": weight[moves.within],
        "ner.in.bias": bias[moves.within],
        "ner.last.weight": weight[moves.last],
        "ner.last.bias": bias[moves.last],
    }


def _parser_tables(network: Network) -> Tables:
    padding = network.lower_padding.transpose(0, 2, 1)
    return {
        "parser.bias": network.lower_bias.T.reshape(-1),
        "parser.pad": padding.reshape(len(padding), -1),
        "parser.weight": network.upper.weight,
        "parser.output_bias": network.upper.bias,
    }


def _vector_tables(nlp: Language) -> Tables:
    rows = nlp.vocab.vectors.key2row
    keys = sorted(int(key) for key in rows)
    return {"vector.keys": np.array(keys, np.uint64), "vector.rows": np.array([rows[key] for key in keys], np.int32)}

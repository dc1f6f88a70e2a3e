"""spaCy's entity recognizer as an artifact's graphs, rules and tables.

`load_pipeline` finds a pipeline by folder, `export_pipeline` works on a loaded one, so that tests enter with small
ones.
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
from spacy.language import Language
from spacy.pipeline import DependencyParser, EntityRecognizer

from ...artifacts import strict_json
from ...artifacts.constants import SPACY_RULES, SPACY_TABLES, graph_file
from ...artifacts.errors import BuildError
from ...artifacts.manifest_sections import SpacyNer, SpacyParser, SpacySpec
from ...graphs.files import save_graph
from .encoder import build_types_graph
from .graphs import build_ner_graph, build_parser_graph
from .moves import NerMoves, ner_moves, parser_moves
from .network import Network, read_network
from .rules import describe_rules, norm_tables, tokenizer_problems

SENTENCES = ("none", "given", "parser")
# Components that leave entities, tokens and norms alone; what others do to them is not known here.
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
_SENTENCE_MAKERS = frozenset({"parser", "senter", "sentencizer"})
# What an attribute ruler must not set before `ner` where the whole pipeline is reproduced
_FELT = frozenset({"ENT_IOB", "ENT_TYPE", "NORM", "ORTH", "SENT_START", "SPACY"})

Tables = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class SpacyExport:
    """An exported pipeline: graphs as saved, by role, each with its file, and its part of the manifest."""

    graphs: dict[str, tuple[ir.Model, str]]
    spec: SpacySpec


def load_pipeline(folder: Path) -> Language:
    """Load a pipeline from the folder that has its config.cfg.

    :raises BuildError: with the code `source` when spaCy cannot load it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a model trained with an older spaCy: parity is what decides
            return spacy.load(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise BuildError(
            "source",
            f"spaCy cannot load {folder.name}: {error}",
            hint="Components with code of their own are not loaded.",
        ) from error


def export_pipeline(nlp: Language, staging: Path, sentences: str = "none") -> SpacyExport:
    """Write the graphs, spacy_tokenizer.json and tables.safetensors of a loaded pipeline into `staging`.

    :param sentences: which sentence starts the entities heed: `none`, `given` or `parser` (FORMAT.md).
    :raises BuildError: with the code `unsupported_model`, naming what cannot be reproduced.
    """
    _refuse(_pipeline_problems(nlp, sentences) + tokenizer_problems(nlp))
    moves, network = ner_moves(nlp.get_pipe("ner")), read_network(nlp, "ner")
    graphs = {
        "spacy_ner": (build_ner_graph(network, moves), graph_file("model", "fp32")),
        "spacy_ner_types": (build_types_graph(network), graph_file("types", "fp32")),
    }
    tables = _ner_tables(network, moves)
    parser = None
    if sentences == "parser":
        parser_network, names = read_network(nlp, "parser"), parser_moves(nlp.get_pipe("parser"))
        graphs["spacy_parser"] = (build_parser_graph(parser_network), graph_file("parser", "fp32"))
        graphs["spacy_parser_types"] = (build_types_graph(parser_network), graph_file("parser_types", "fp32"))
        tables |= _parser_tables(parser_network)
        parser = SpacyParser(**_network_fields(parser_network), moves=names)
    if network.vectors is not None or (parser is not None and parser.vectors):
        tables |= _vector_tables(nlp)
    tables["norm.keys"], tables["norm.values"] = norm_tables(nlp)
    _write(nlp, graphs, tables, staging)
    ner = SpacyNer(**_network_fields(network), tie=moves.tie)
    spec = SpacySpec(nlp.lang, moves.labels, sentences, SPACY_RULES, SPACY_TABLES, ner, parser)
    return SpacyExport(graphs, spec)


def _write(nlp: Language, graphs: dict[str, tuple[ir.Model, str]], tables: Tables, staging: Path) -> None:
    # One line: for tools, as tokenizer.json is
    (staging / SPACY_RULES).write_bytes(strict_json.canonical_line(describe_rules(nlp)))
    # The library's own way to write a file would leave it readable to its owner alone
    (staging / SPACY_TABLES).write_bytes(save({name: np.ascontiguousarray(tables[name]) for name in sorted(tables)}))
    for graph, file in graphs.values():
        save_graph(graph, staging, file)


def _refuse(problems: list[str]) -> None:
    if problems:
        raise BuildError("unsupported_model", f"the pipeline has {'; '.join(problems)}")


def _pipeline_problems(nlp: Language, sentences: str) -> list[str]:
    if "ner" not in nlp.pipe_names:
        return [f"no component called ner (but {', '.join(nlp.pipe_names) or 'none at all'})"]
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
    return problems + (_sentence_problems(nlp, factories) if sentences == "parser" else [])


def _sentence_problems(nlp: Language, factories: dict[str, str]) -> list[str]:
    """Why the sentences that the whole pipeline gives to `ner` are not those of its parser alone."""
    before = nlp.pipe_names[: nlp.pipe_names.index("ner")]
    makers = [name for name in before if factories[name] in _SENTENCE_MAKERS]
    if makers != ["parser"] or type(nlp.get_pipe("parser")) is not DependencyParser:
        return [
            f"sentences made by {', '.join(makers) or 'nothing'} before ner, not by the parser alone; "
            "use sentences = given or none"
        ]
    parser = nlp.get_pipe("parser")
    problems = []
    if parser.cfg["beam_width"] != 1:
        problems.append("a parser that searches with a beam")
    if parser.cfg.get("learn_tokens"):
        problems.append("a parser that joins tokens (learn_tokens = true)")
    for name in before:
        if factories[name] == "attribute_ruler" and (felt := _ruled_attributes(nlp.get_pipe(name)) & _FELT):
            problems.append(f"an attribute ruler that sets {', '.join(sorted(felt))} before ner")
    return problems


def _ruled_attributes(ruler: Any) -> set[str]:
    return {str(attribute).upper() for pattern in ruler.patterns for attribute in pattern["attrs"]}


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

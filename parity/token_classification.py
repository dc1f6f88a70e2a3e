"""The parity stage of token classifiers; the original is the token-classification pipeline of transformers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import pipeline

from ..artifacts.families.token_classification import TOKEN_CLASSIFICATION, TokenClassificationSpec
from ..artifacts.manifest import Manifest
from ..artifacts.manifest_sections import TokenizerSpec
from ..artifacts.ner import STRATEGIES, ExpectedEntity
from ..artifacts.originals import original_errors
from ..artifacts.staging import Staged
from ..runtime.graph_model import staged_model
from ..runtime.handles.recognizer import Recognizer
from ..runtime.token_classification.classifier import TokenClassifier
from ..runtime.tokenizer import TextTokenizer
from .ner.evaluation import NerInput, NerParity, evaluate, evidence, golden_cases, ner_texts, words_per_second
from .ner.original import OriginalEntities
from .ner.report import write_ner_report
from .proof import Proof

__all__ = ["evidence", "golden_cases", "prove", "write_report"]

# The model's own aggregation strategy is compared on all parity texts, the other strategies on every 8th text
_EVERY = 8
# For a tokenizer without a limit, transformers sets `model_max_length` to a number that is larger than this one
_NO_LIMIT = 1_000_000


def prove(staged: Staged, folder: Path) -> Proof[NerParity]:
    """Compare every variant that the build settings name with the original model in `folder`."""
    settings, spec = staged.settings, staged.section(TokenClassificationSpec)
    texts = ner_texts(spec.language)
    original = load_original(
        folder,
        staged.section(TokenizerSpec).max_tokens,
        ignore_labels=spec.ignore_labels,
        allow_pickle=settings.options.allow_pickle,
    )
    run = partial(original_entities, original, aggregation_strategy=spec.aggregation_strategy, stride=spec.stride)
    speeds = {"original": words_per_second(run, texts)}
    inputs, references = [], []
    for strategy, stride, chosen in _settings(spec, texts):
        references += original_entities(original, chosen, strategy, stride)
        inputs += [NerInput(text, strategy, stride) for text in chosen]
    classifiers = {
        name: Recognizer(
            TokenClassifier(staged_model(staged, name, "token_classifier", TokenClassificationSpec, TextTokenizer))
        )
        for name in sorted(settings.variants)
    }
    parity = evaluate(inputs, references, classifiers, settings.gates)
    speeds |= {name: words_per_second(classifier.recognize, texts) for name, classifier in classifiers.items()}
    return Proof(parity, speeds)


def write_report(proof: Proof[NerParity], manifest: Manifest, path: Path) -> None:
    """Write the HTML report to `path` atomically."""
    write_ner_report(
        TOKEN_CLASSIFICATION, proof, manifest, path, original="the pipeline of transformers", preprocessor="tokenizer"
    )


def _settings(spec: TokenClassificationSpec, texts: list[str]) -> list[tuple[str, int | None, list[str]]]:
    """Return the comparisons to run as (strategy, stride, texts).

    The model's own settings are compared on all texts, every other strategy on some of them.
    """
    others = [(strategy, None if strategy == "none" else spec.stride) for strategy in STRATEGIES]
    # `none` is left out if the manifest has a stride: the strategy allows none, and a call cannot remove it
    others = [each for each in others if not (each[0] == "none" and spec.stride is not None)]
    own = (spec.aggregation_strategy, spec.stride)
    return [(*own, texts), *((*each, texts[::_EVERY]) for each in others if each != own)]


@original_errors("transformers")
def load_original(
    folder: Path, max_tokens: int, *, ignore_labels: Sequence[str] = ("O",), allow_pickle: bool = False
) -> Any:
    """Load the pipeline of transformers on the CPU in float32, the precision of the fp32 variant.

    :param max_tokens: the artifact's limit in tokens; it is set for a tokenizer without a limit, which could neither
        cut texts nor split them into windows.
    """
    arguments = {} if allow_pickle else {"use_safetensors": True}
    loaded: Any = pipeline(
        "token-classification",
        model=str(folder),
        device="cpu",
        dtype=torch.float32,
        trust_remote_code=False,
        ignore_labels=list(ignore_labels),
        model_kwargs=arguments,
    )
    if loaded.tokenizer.model_max_length > _NO_LIMIT:
        loaded.tokenizer.model_max_length = max_tokens
    return loaded


@original_errors("transformers")
def original_entities(
    pipeline: Any, texts: Sequence[str], aggregation_strategy: str, stride: int | None = None
) -> list[OriginalEntities]:
    """Return the entities of every text; each text is a separate call."""
    settings = {"aggregation_strategy": aggregation_strategy} | ({} if stride is None else {"stride": stride})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hides a warning about unknown words for every token
        return [_entities(pipeline, text, settings, stride) for text in texts]


def _entities(pipeline: Any, text: str, settings: dict[str, Any], stride: int | None) -> OriginalEntities:
    found = pipeline(text, **settings)
    entities = tuple(
        ExpectedEntity(
            int(entity["start"]),
            int(entity["end"]),
            str(entity.get("entity_group", entity.get("entity"))),
            float(entity["score"]),
        )
        for entity in found
    )
    tokens = pipeline.tokenizer
    whole = len(tokens(text, truncation=False, verbose=False)["input_ids"])
    limit = tokens.model_max_length
    if stride is None or whole <= limit:
        return OriginalEntities(entities, min(whole, limit), whole > limit)
    windows = tokens(text, truncation=True, stride=stride, return_overflowing_tokens=True)["input_ids"]
    return OriginalEntities(entities, sum(map(len, windows)), False)

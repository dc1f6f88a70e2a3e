"""Names the weights of a head that transformers drops when it loads the encoder of a checkpoint."""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_PRETRAINING_MAPPING_NAMES


def head_weights(model: Any, architectures: Sequence[str]) -> set[str]:
    """Return the names of the weights that the class of a checkpoint has outside of its encoder.

    Only a class of transformers with the same `model_type` counts. A checkpoint of a part of the pretraining class,
    such as BertForMaskedLM, often has all heads of it. Weights inside of the encoder are never named.

    :param model: the loaded model; its configuration is that of the checkpoint.
    :param architectures: the classes in config.json; the first one has saved the checkpoint.
    """
    saved = _class_of(model, architectures[0]) if architectures else None
    if saved is None:
        return set()
    pretraining = _class_of(model, MODEL_FOR_PRETRAINING_MAPPING_NAMES.get(model.config.model_type))
    return {name for kind in {saved, pretraining} - {None} for name in _outside(kind, model.config)}


def _class_of(model: Any, name: Any) -> Any:
    """Return the class with a name that transformers has for the `model_type` of a model, or None."""
    module = type(model).__module__
    found = getattr(sys.modules[module], str(name), None) if module.startswith("transformers.") else None
    if not (isinstance(found, type) and issubclass(found, PreTrainedModel)):
        return None
    return found if getattr(found.config_class, "model_type", None) == model.config.model_type else None


def _outside(kind: Any, config: Any) -> set[str]:
    with torch.device("meta"):  # the names need no memory for the weights
        made = kind(copy.deepcopy(config))
    if made.base_model is made:  # its encoder has no name of its own
        return set()
    return {name for name in made.state_dict() if not name.startswith(f"{made.base_model_prefix}.")}

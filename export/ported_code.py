"""Says whether transformers' class of a checkpoint is a port of the checkpoint's own code, with its settings.

The classes of transformers have settings of their own, and ignore those of the code: a checkpoint whose code reads
another value than the class assumes would be loaded without a warning, and answer differently.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class _Port:
    """The settings of the code that a class of transformers ignores.

    `constants` maps them to the values that the class assumes. `renamed` maps them to the name that the class reads in
    their place, and to its default.
    """

    constants: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    renamed: Mapping[str, tuple[str, Any]] = field(default_factory=dict)


_OFF = (False, None)
_PORTS = {
    "eurobert": _Port(renamed={"clf_pooling": ("classifier_pooling", "late")}),
    "gte": _Port(
        {
            "layer_norm_type": ("layer_norm",),
            "logn_attention_clip1": _OFF,
            "logn_attention_scale": _OFF,
            "position_embedding_type": ("rope",),
        }
    ),
    "jina_embeddings_v3": _Port(
        {"position_embedding_type": ("rotary",)}, {"rotary_emb_base": ("rope_theta", 20_000.0)}
    ),
    "nomic_bert": _Port(
        {
            "activation_function": ("swiglu",),
            "causal": _OFF,
            "parallel_block": _OFF,
            "prenorm": _OFF,
            "rotary_emb_fraction": (1.0,),
            "rotary_emb_interleaved": _OFF,
            "rotary_emb_scale_base": (None,),
            "rotary_scaling_factor": (None,),
            "scale_attn_by_inverse_layer_idx": _OFF,
            "scale_attn_weights": (True,),
            "use_rms_norm": _OFF,
        },
        {
            "layer_norm_epsilon": ("layer_norm_eps", 1e-12),
            "n_head": ("num_attention_heads", 12),
            "rotary_emb_base": ("rope_theta", 1000.0),
        },
    ),
}


def is_ported(config: Mapping[str, Any]) -> bool:
    """Return whether transformers has a port of the code of a model with this config.json; see `ignored_settings`."""
    return isinstance(config.get("model_type"), str) and config["model_type"] in _PORTS


def ignored_settings(config: Mapping[str, Any]) -> list[str]:
    """Return the settings that only the code reads, and whose values are not those of the port, as `name = value`."""
    port = _PORTS[config["model_type"]]
    accepted = dict(port.constants)
    accepted |= {name: (_value(config, own, default),) for name, (own, default) in port.renamed.items()}
    differing = [name for name, values in accepted.items() if name in config and config[name] not in values]
    return [f"{name} = {config[name]!r}" for name in sorted(differing)]


def _value(config: Mapping[str, Any], name: str, default: Any) -> Any:
    """Return a setting of the class, which can also be one of its rotary positions."""
    nested = config.get("rope_parameters")
    return config.get(name, nested.get(name, default) if isinstance(nested, dict) else default)

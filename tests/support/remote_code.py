"""Checkpoints that refer to code of their own: a trap that creates a file when it is imported, in every location."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TRAP = "modeling_trap"
# Where a checkpoint can refer to code: the file, and the keys that lead to the object with `auto_map`
LOCATIONS: dict[str, tuple[str, tuple[str | int, ...]]] = {
    "config.json": ("config.json", ()),
    "tokenizer_config.json": ("tokenizer_config.json", ()),
    "modules.json": ("modules.json", (0,)),
    "encoder_config": ("config.json", ("encoder_config",)),
}
_CLASSES = ("AutoConfig", "AutoModel", "AutoModelForTokenClassification", "AutoTokenizer")

# Attention in both directions, as in checkpoints whose embedding model was made from a causal language model. A library
# loads their weights into the causal class of transformers without a warning.
_BIDIRECTIONAL = """
from transformers import Qwen2Config, Qwen2Model

class BidirectionalConfig(Qwen2Config):
    pass

class BidirectionalModel(Qwen2Model):
    config_class = BidirectionalConfig

    def __init__(self, config):
        config.is_causal = False
        super().__init__(config)
        for layer in self.layers:
            layer.self_attn.is_causal = False
"""


def set_trap(folder: Path, location: str, flag: Path) -> None:
    """Let a checkpoint refer to code in its folder that creates the file `flag`.

    :param location: a key of `LOCATIONS`.
    """
    (folder / f"{TRAP}.py").write_text(f"from pathlib import Path\nPath({str(flag)!r}).touch()\nclass Trap: pass\n")
    file, keys = LOCATIONS[location]
    references = {name: [f"{TRAP}.Trap", None] if name == "AutoTokenizer" else f"{TRAP}.Trap" for name in _CLASSES}
    _add(folder / file, keys, references)


def make_bidirectional(folder: Path, flag: Path) -> None:
    """Let a checkpoint of Qwen2 refer to code with attention in both directions; importing it creates `flag`."""
    code = f"from pathlib import Path\nPath({str(flag)!r}).touch()\n{_BIDIRECTIONAL}"
    (folder / f"{TRAP}.py").write_text(code)
    references = {"AutoModel": f"{TRAP}.BidirectionalModel", "AutoConfig": f"{TRAP}.BidirectionalConfig"}
    _add(folder / "config.json", (), references)


def _add(path: Path, keys: tuple[str | int, ...], references: dict[str, Any]) -> None:
    config = json.loads(path.read_text())
    parent = config
    for key in keys:
        parent = parent.setdefault(key, {}) if isinstance(key, str) else parent[key]
    parent["auto_map"] = references
    path.write_text(json.dumps(config))

"""Create a small random model of the toy family, which a build can read."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from onnx_ml_bridge.parity.texts import parity_texts
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from .export.readability import ReadabilityModel


def save_model(folder: Path) -> None:
    words = sorted({word for text in parity_texts()[:200] for word in text.split()})[:300]
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(7)
    save_file(ReadabilityModel(len(vocabulary)).state_dict(), folder / "model.safetensors")
    config = {"vocab_size": len(vocabulary), "max_tokens": 2048}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")

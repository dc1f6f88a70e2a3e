"""Recipes of small GGUF files: a random llama with the chat template of Phi-3 or Mistral, and MiniLM in float32."""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import load_file

PHI3 = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('the roles do not alternate') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token }}"
    "{% else %}{{ raise_exception('only user and assistant') }}{% endif %}{% endfor %}"
)
TEMPLATES = {"phi3": PHI3, "mistral": MISTRAL}
WIDTH, LAYERS, HEADS, HIDDEN = 64, 2, 4, 128
_SPACE = "\u2581"
_KIND = gguf.TokenType


class Writer(gguf.GGUFWriter):
    """A writer that replaces the values of some keys, for files that are wrong on purpose."""

    def __init__(self, path: Path, architecture: str, replaced: Mapping[str, Any] | None = None) -> None:
        self._replaced = dict(replaced or {})
        super().__init__(path, architecture)

    def add_key_value(self, key: str, val: Any, *rest: Any, **named: Any) -> None:
        super().add_key_value(key, self._replaced.get(key, val), *rest, **named)

    def finish(self) -> None:
        self.write_header_to_file()
        self.write_kv_data_to_file()
        self.write_tensors_to_file()
        self.close()


def vocabulary() -> tuple[list[str], list[gguf.TokenType], list[float]]:
    """A SentencePiece vocabulary: control tokens, all bytes, characters, and common pairs with their scores."""
    control = ["<|user|>", "<|assistant|>", "<|system|>", "<|end|>"]
    pairs = [_SPACE + letter for letter in string.ascii_lowercase]
    pairs += ["th", "he", "in", "er", "an", "re", "on", _SPACE + "the"]
    normal = list(dict.fromkeys([chr(code) for code in range(33, 127)] + [_SPACE, *pairs]))
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *control, *normal]
    kinds = [_KIND.UNKNOWN, _KIND.CONTROL, _KIND.CONTROL, *[_KIND.BYTE] * 256]
    kinds += [_KIND.CONTROL] * len(control) + [_KIND.NORMAL] * len(normal)
    scores = [0.0] * (len(tokens) - len(normal)) + [-index / 10 for index in range(len(normal))]
    return tokens, kinds, scores


def write_llama(
    path: Path,
    template: str = "phi3",
    *,
    context: int = 512,
    seed: int = 7,
    replaced: Mapping[str, Any] | None = None,
) -> Path:
    """Write a llama of 0.2 million random parameters.

    :param replaced: values of metadata that replace the right ones.
    """
    tokens, kinds, scores = vocabulary()
    writer = Writer(path, "llama", replaced)
    writer.add_name("tiny-random")
    writer.add_context_length(context)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS // 2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    writer.add_add_space_prefix(False)  # with the prefix, llama.cpp's grammars of JSON schemas accept no first token
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template(TEMPLATES[template])
    _add_llama_tensors(writer, len(tokens), np.random.default_rng(seed))
    writer.finish()
    return path


def _add_llama_tensors(writer: Writer, vocabulary_size: int, random: np.random.Generator) -> None:
    def add(name: str, rows: int, columns: int, scale: float | None = None) -> None:
        values = random.standard_normal((rows, columns)) * (columns**-0.5 if scale is None else scale)
        writer.add_tensor(f"{name}.weight", values.astype(np.float32))

    add("token_embd", vocabulary_size, WIDTH, 1.0)
    add("output", vocabulary_size, WIDTH, 0.5)
    ones = np.ones(WIDTH, np.float32)
    writer.add_tensor("output_norm.weight", ones)
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        writer.add_tensor(f"{block}.attn_norm.weight", ones)
        writer.add_tensor(f"{block}.ffn_norm.weight", ones)
        for name, rows in (("q", WIDTH), ("k", WIDTH // 2), ("v", WIDTH // 2), ("output", WIDTH)):
            add(f"{block}.attn_{name}", rows, WIDTH)
        add(f"{block}.ffn_gate", HIDDEN, WIDTH)
        add(f"{block}.ffn_up", HIDDEN, WIDTH)
        add(f"{block}.ffn_down", WIDTH, HIDDEN)


# The names of a layer's tensors in GGUF and in transformers' BERT
_BERT_LAYER = {
    "attn_q": "attention.self.query",
    "attn_k": "attention.self.key",
    "attn_v": "attention.self.value",
    "attn_output": "attention.output.dense",
    "attn_output_norm": "attention.output.LayerNorm",
    "ffn_up": "intermediate.dense",
    "ffn_down": "output.dense",
    "layer_output_norm": "output.LayerNorm",
}


def write_minilm(path: Path, folder: Path) -> Path:
    """Write the float32 weights and the WordPiece vocabulary of a BERT encoder with mean pooling.

    :param folder: a checkpoint of transformers with config.json, tokenizer.json and model.safetensors.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    writer = Writer(path, "bert")
    writer.add_name("all-MiniLM-L6-v2")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_token_type_count(config["type_vocab_size"])
    _add_wordpiece(writer, tokenizer)
    weights = {name.removeprefix("bert."): value for name, value in load_file(folder / "model.safetensors").items()}
    _add_bert_tensors(writer, config["num_hidden_layers"], lambda name: weights[name].astype(np.float32))
    writer.finish()
    return path


def _add_wordpiece(writer: Writer, tokenizer: dict[str, Any]) -> None:
    """Add a vocabulary: llama.cpp marks the start of a word, WordPiece what continues one."""
    ids: dict[str, int] = tokenizer["model"]["vocab"]
    special = {token["content"] for token in tokenizer["added_tokens"]}
    tokens = sorted(ids, key=ids.__getitem__)
    kinds = [_KIND.NORMAL if token not in special else _KIND.CONTROL for token in tokens]
    kinds[ids["[UNK]"]] = _KIND.UNKNOWN
    marked = [
        token if token in special else token[2:] if token.startswith("##") else _SPACE + token for token in tokens
    ]
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(marked)
    writer.add_token_types(kinds)
    writer.add_token_scores([-1000.0] * len(tokens))
    writer.add_unk_token_id(ids["[UNK]"])
    writer.add_sep_token_id(ids["[SEP]"])
    writer.add_pad_token_id(ids["[PAD]"])
    writer.add_bos_token_id(ids["[CLS]"])
    writer.add_eos_token_id(ids["[SEP]"])
    writer.add_mask_token_id(ids["[MASK]"])


def _add_bert_tensors(writer: Writer, layers: int, weight: Callable[[str], np.ndarray]) -> None:
    for ours, theirs in (("token_embd", "word"), ("position_embd", "position"), ("token_types", "token_type")):
        writer.add_tensor(f"{ours}.weight", weight(f"embeddings.{theirs}_embeddings.weight"))
    for part in ("weight", "bias"):
        writer.add_tensor(f"token_embd_norm.{part}", weight(f"embeddings.LayerNorm.{part}"))
        for layer in range(layers):
            for ours, theirs in _BERT_LAYER.items():
                writer.add_tensor(f"blk.{layer}.{ours}.{part}", weight(f"encoder.layer.{layer}.{theirs}.{part}"))


# Metadata of files that are wrong on purpose, by name
HOSTILE: dict[str, dict[str, Any]] = {
    "no heads": {"llama.attention.head_count": 0},
    "heads that do not divide the width": {"llama.attention.head_count": 3},
    "no key heads": {"llama.attention.head_count_kv": 0},
    "key heads that do not divide the heads": {"llama.attention.head_count_kv": 3},
    "too many key heads": {"llama.attention.head_count_kv": 1000},
    "no layers": {"llama.block_count": 0},
    "600 layers": {"llama.block_count": 600},
    "4 billion layers": {"llama.block_count": 4_000_000_000},
    "no context": {"llama.context_length": 0},
    "a context of 4 billion": {"llama.context_length": 4_000_000_000},
    "an odd rotation": {"llama.rope.dimension_count": 7},
    "no rotation": {"llama.rope.dimension_count": 0},
    "a rotation of a million": {"llama.rope.dimension_count": 1_000_000},
    "an epsilon that is not a number": {"llama.attention.layer_norm_rms_epsilon": float("nan")},
    "a negative epsilon": {"llama.attention.layer_norm_rms_epsilon": -1.0},
    "a first token out of range": {"tokenizer.ggml.bos_token_id": 1_000_000_000},
    "a last token out of range": {"tokenizer.ggml.eos_token_id": 1_000_000_000},
    "an unknown token out of range": {"tokenizer.ggml.unknown_token_id": 1_000_000_000},
    "no width": {"llama.embedding_length": 0},
    "a width of 4 billion": {"llama.embedding_length": 4_000_000_000},
    "an endless template": {"tokenizer.chat_template": "{% for i in range(1000000000000) %}x{% endfor %}"},
    "a deep template": {"tokenizer.chat_template": "{{" + "(" * 100_000 + "1" + ")" * 100_000 + "}}"},
    "a recursive template": {"tokenizer.chat_template": "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}"},
    "a large template": {"tokenizer.chat_template": "{{ 'a' * 100000000000 }}"},
    "a template that is no template": {"tokenizer.chat_template": "{% if %}"},
    "one token": {"tokenizer.ggml.tokens": ["a"]},
    "one score": {"tokenizer.ggml.scores": [0.0]},
    "one type": {"tokenizer.ggml.token_type": [1]},
    **{
        f"the tokenizer {name}": {"tokenizer.ggml.model": name}
        for name in ("plamo2", "gpt2", "t5", "rwkv", "bert", "no_vocab")
    },
    "another architecture": {"general.architecture": "bert"},
}
# Those of them that llama.cpp uses all the same
USABLE = {
    "a first token out of range",
    "a last token out of range",
    "an unknown token out of range",
    "the tokenizer plamo2",
    "the tokenizer rwkv",
    "the tokenizer t5",
}

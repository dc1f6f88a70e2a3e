"""Create the small random GLiNER models of the tests, in the format of GLiNER's library, but without it.

    make_gliner(folder, "span-deberta")

As in small_models.py, vocabularies are trained on the package's texts, and the weights are random and seeded. The
logits are scaled so that scores spread between 0 and 1, and every label has entities.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from onnx_ml_bridge.parity.gliner.network import Network
from onnx_ml_bridge.parity.gliner.original import OriginalGliner
from safetensors.torch import save_file
from small_models import BERT_SPECIALS, bytelevel_bpe, corpus, unigram, wordpiece
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import BertTokenizer, DebertaV2Tokenizer, PreTrainedTokenizerFast, XLMRobertaTokenizer

MAX_WORDS = 40
MAX_TOKENS = 160
LABELS = ("person", "location", "date of an event")
_SEED = 20261126
_HIDDEN, _ENCODER_HIDDEN = 24, 32
_SPECIALS = ["[FLERT]", "<<ENT>>", "<<SEP>>"]
# The standard deviation of the logits; the mean of those of start, end and inside in token models
_SPREAD = 1.8
_MEAN = torch.tensor([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class SmallGliner:
    """The tokenizer, the encoder's configuration, and the other settings of gliner_config.json."""

    tokenizer: Callable[[], Any]
    encoder: dict[str, Any]
    settings: dict[str, Any] = field(default_factory=dict)


def make_gliner(folder: Path, model: str | SmallGliner, **settings: Any) -> Path:
    """Save a small model to `folder` and return `folder`.

    :param model: a key of `SMALL_GLINERS`, or another model.
    :param settings: further settings of gliner_config.json.
    """
    made = SMALL_GLINERS[model] if isinstance(model, str) else model
    tokenizer = made.tokenizer()
    tokenizer.add_tokens(_SPECIALS, special_tokens=True)
    values = _config(made, tokenizer) | settings
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gliner_config.json").write_text(json.dumps(values, indent=2), encoding="utf-8")
    tokenizer.save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(_SEED)
        network = Network(values).eval()
        _roughen(network)
        _save(network, folder)
        _scale(network, folder)
    _save(network, folder)
    return folder


def _save(network: Network, folder: Path) -> None:
    tensors = {name: tensor.contiguous().clone() for name, tensor in network.state_dict().items()}
    save_file(tensors, folder / "model.safetensors")


def _config(made: SmallGliner, tokenizer: Any) -> dict[str, Any]:
    encoder = {**_SIZES, **made.encoder, "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    return {
        "class_token_index": tokenizer.convert_tokens_to_ids("<<ENT>>"),
        "dropout": 0.1,
        "embed_ent_token": True,
        "encoder_config": encoder,
        "ent_token": "<<ENT>>",
        "hidden_size": _HIDDEN,
        "max_len": MAX_WORDS,
        "max_width": 6,
        "model_name": "none",
        "model_type": "gliner",
        "num_rnn_layers": 1,
        "sep_token": "<<SEP>>",
        "span_mode": "markerV0",
        "subtoken_pooling": "first",
        "vocab_size": len(tokenizer),
        "words_splitter_type": "whitespace",
        **made.settings,
    }


@torch.no_grad()
def _roughen(network: Network) -> None:
    """Set biases other than zero, and make the vectors of different tokens and labels differ."""
    for name, parameter in network.named_parameters():
        is_encoder = name.startswith("token_rep_layer.bert_layer")
        if (is_encoder and "word_embeddings" in name) or "tok_embeddings" in name:
            parameter.mul_(3)
        elif not is_encoder and "bias" in name:
            torch.nn.init.normal_(parameter, std=0.1)
        elif not is_encoder and parameter.ndim > 1 and "rnn" not in name:
            parameter.mul_(2)


@torch.no_grad()
def _scale(network: Network, folder: Path) -> None:
    """Scale and shift the last layers so that the logits of sample texts have the spread and mean above."""
    if not network.is_token:
        _center_spans(network, folder)
        _save(network, folder)
    logits = _sample_logits(folder)
    factor = _SPREAD / logits.std()
    last = network.scorer.out_mlp[3] if network.is_token else network.prompt_rep_layer[3]
    last.weight.mul_(factor)
    last.bias.mul_(factor)
    if network.is_token:
        last.bias.add_(_MEAN - factor * logits.mean(0))


def _center_spans(network: Network, folder: Path) -> None:
    """Make the mean of the vectors of spans zero, so that no label has only high or only low scores."""
    seen: list[torch.Tensor] = []
    project = network.span_rep_layer.span_rep_layer.out_project
    hook = project.register_forward_hook(lambda module, inputs, output: seen.append(output.flatten(0, 1)))
    model = OriginalGliner(folder, MAX_TOKENS)
    model.network = network
    _logits(model)
    hook.remove()
    bias = (project[3] if isinstance(project, torch.nn.Sequential) else project).bias
    bias.sub_(torch.cat(seen).mean(0))


def _sample_logits(folder: Path) -> torch.Tensor:
    """Return the finite logits of sample texts: `[n, labels]` for spans, `[n, 3]` for words."""
    logits = _logits(OriginalGliner(folder, MAX_TOKENS))
    flat = torch.cat([each.flatten(0, -2) for each in logits])
    return flat[flat.isfinite().all(-1)]


def _logits(model: OriginalGliner) -> list[torch.Tensor]:
    return [model.logits(line.split()[:20], LABELS)[1] for line in corpus()[::40]]


def _deberta_tokenizer() -> Any:
    pieces = [(piece, score) for piece, score in unigram() if not piece.startswith("<")]
    return DebertaV2Tokenizer(vocab=[(special, 0.0) for special in BERT_SPECIALS] + pieces)


def _bert_tokenizer() -> Any:
    return BertTokenizer(vocab=dict(wordpiece(BERT_SPECIALS)), model_max_length=MAX_TOKENS)


def _modernbert_tokenizer() -> Any:
    vocab, merges = bytelevel_bpe()
    tokenizer = Tokenizer(models.BPE(dict(vocab), list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B </s>",
        special_tokens=[("<s>", vocab["<s>"]), ("</s>", vocab["</s>"])],
    )
    names = {"cls": "<s>", "sep": "</s>", "pad": "<pad>", "unk": "<unk>", "mask": "<mask>"}
    specials = {f"{name}_token": token for name, token in names.items()}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=MAX_TOKENS, **specials)


def _xlm_tokenizer() -> Any:
    return XLMRobertaTokenizer(vocab=list(unigram()), model_max_length=MAX_TOKENS)


_SIZES = {
    "hidden_size": _ENCODER_HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": MAX_TOKENS + 2,
    "initializer_range": 0.3,
}
# Like DeBERTa-v3: only relative positions, which are bucketed, and shared projections
_DEBERTA = {
    "model_type": "deberta-v2",
    "relative_attention": True,
    "position_buckets": 16,
    "pos_att_type": ["p2c", "c2p"],
    "norm_rel_ebd": "layer_norm",
    "position_biased_input": False,
    "type_vocab_size": 0,
    "share_att_key": True,
}
_MODERNBERT = {"model_type": "modernbert", "local_attention": 16, "bos_token_id": 0, "eos_token_id": 2}
_MODERNBERT |= {"cls_token_id": 0, "sep_token_id": 2}
_TOKEN = {"span_mode": "token_level"}

SMALL_GLINERS: dict[str, SmallGliner] = {
    "span-deberta": SmallGliner(_deberta_tokenizer, _DEBERTA),
    "marker-deberta": SmallGliner(
        _deberta_tokenizer, _DEBERTA, {"span_mode": "marker", "num_rnn_layers": 0, "embed_ent_token": False}
    ),
    "span-modernbert": SmallGliner(_modernbert_tokenizer, _MODERNBERT),
    "token-deberta": SmallGliner(_deberta_tokenizer, _DEBERTA, _TOKEN),
    "token-bert": SmallGliner(_bert_tokenizer, {"model_type": "bert"}, _TOKEN | {"num_rnn_layers": 0}),
    "token-xlm-roberta": SmallGliner(_xlm_tokenizer, {"model_type": "xlm-roberta", "type_vocab_size": 1}, _TOKEN),
}

"""Train a small mBART or Pegasus that describes a Debian package in one line, and build its artifact.

python -m benchmarks.recipes.package_summarizers mbart --out DIR

It requires the list of descriptions (apt-get -o Acquire::Languages=en update) and lz4. The tokenizer is a SentencePiece
model, as in real checkpoints. In the first third of the steps the model copies short texts whose tokens are partly
masked, which trains the cross-attention; then it summarizes.
"""

from __future__ import annotations

import argparse
import io
import json
import random
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from ..corpora.package_descriptions import HELD_OUT, description_pairs
from .building import MODEL, run

_SEED = 20261127
_LANGUAGE = "en_XX"
_PAIRS, _VOCABULARY, _MAX_SOURCE, _POSITIONS = 20_000, 1500, 96, 128
_SIZES = {
    "d_model": 128,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 512,
    "decoder_ffn_dim": 512,
    "max_position_embeddings": _POSITIONS,
    "scale_embedding": True,
}
_SEARCH = {"num_beams": 4, "length_penalty": 1.0, "max_length": 32, "no_repeat_ngram_size": 3, "early_stopping": True}
_TOKENS_PER_BATCH, _MASKED, _RATE, _WARM_UP = 1000, 0.15, 2e-3, 100
_IGNORED = -100
_NAME = "{}-package-descriptions"
_MODELS_TOML = """[[model]]
name = "{name}"
version = "1.0.0"
task = "summarization"
source = "path:{model}"
"""

# The token ids of a text and of its summary, both with the special tokens of the tokenizer
Example = tuple[list[int], list[int]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Create the model and the artifact."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("architecture", choices=("mbart", "pegasus"))
    parser.add_argument("--steps", type=int, default=3000, help="steps of training (default: %(default)s)")
    options, others = parser.parse_known_args(arguments)
    config = _MODELS_TOML.format(name=_NAME.format(options.architecture), model=MODEL)
    make = partial(make_model, architecture=options.architecture, steps=options.steps)
    run("package_summarizers", __doc__.splitlines()[0], make, config, others, rebuild=True)


def make_model(folder: Path, architecture: str, steps: int) -> Path:
    """Train a model, and save it in the format of transformers, in half precision."""
    import torch

    torch.manual_seed(_SEED)
    random.seed(_SEED)
    pairs = description_pairs()[HELD_OUT:][:_PAIRS]
    tokenizer = _tokenizer(folder, architecture, [text for pair in pairs for text in pair])
    model = _new_model(architecture, tokenizer)
    texts = tokenizer([long for long, _ in pairs], truncation=True, max_length=_MAX_SOURCE)["input_ids"]
    shorts = tokenizer([short for _, short in pairs], add_special_tokens=False)["input_ids"]
    summaries = [[*short, tokenizer.eos_token_id] for short in shorts]
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.01)
    own = [list(ids) for ids in shorts]
    _train(model, optimizer, _batches(tokenizer, partial(_copies, tokenizer, own)), steps // 3)
    examples = list(zip(texts, summaries, strict=True))
    _train(model, optimizer, _batches(tokenizer, lambda: examples), steps - steps // 3)
    model.half().save_pretrained(folder)
    return folder


def _tokenizer(folder: Path, architecture: str, texts: Sequence[str]) -> Any:
    """Train a SentencePiece model, save it as a checkpoint does, and load it."""
    import sentencepiece
    from transformers import AutoTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    is_pegasus = architecture == "pegasus"
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        vocab_size=_VOCABULARY,
        num_threads=1,
        normalization_rule_name="nmt_nfkc",
        minloglevel=2,
        **({"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1} if is_pegasus else {}),
    )
    (folder / ("spiece.model" if is_pegasus else "sentencepiece.bpe.model")).write_bytes(model.getvalue())
    languages = {} if is_pegasus else {"src_lang": _LANGUAGE, "tgt_lang": _LANGUAGE}
    kind = "PegasusTokenizer" if is_pegasus else "MBartTokenizer"
    config = {"tokenizer_class": kind, "model_max_length": _MAX_SOURCE, **languages}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return AutoTokenizer.from_pretrained(folder)


def _new_model(architecture: str, tokenizer: Any) -> Any:
    from transformers import AutoConfig, AutoModelForSeq2SeqLM, GenerationConfig

    is_pegasus = architecture == "pegasus"
    tokens = {
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "decoder_start_token_id": tokenizer.pad_token_id if is_pegasus else tokenizer.convert_tokens_to_ids(_LANGUAGE),
        "forced_eos_token_id": tokenizer.eos_token_id,
    }
    activation = "relu" if is_pegasus else "gelu"
    config = AutoConfig.for_model(
        architecture, vocab_size=len(tokenizer), activation_function=activation, **_SIZES, **tokens
    )
    model = AutoModelForSeq2SeqLM.from_config(config)
    model.generation_config = GenerationConfig(**_SEARCH, **tokens)
    return model


def _copies(tokenizer: Any, texts: Sequence[list[int]]) -> list[Example]:
    """Return texts, partly masked, with the whole text as the target."""
    specials = tokenizer("")["input_ids"]  # both tokenizers add them at the end

    def masked(ids: Sequence[int]) -> list[int]:
        return [tokenizer.mask_token_id if random.random() < _MASKED else token for token in ids] + specials

    # Two short texts one after the other make longer targets
    pairs = zip(texts, random.sample(texts, len(texts)), strict=True)
    return [(masked(a + b), [*a, *b, tokenizer.eos_token_id]) for a, b in pairs]


def _batches(tokenizer: Any, examples: Any) -> Iterator[tuple[Any, Any]]:
    """Yield source and target ids, int64 `[batch, tokens]`; texts of a batch have similar lengths."""
    import torch

    def padded(rows: Sequence[list[int]], value: int) -> Any:
        width = max(map(len, rows))
        return torch.tensor([row + [value] * (width - len(row)) for row in rows])

    while True:
        by_length = sorted(examples(), key=lambda example: (len(example[0]) // 8, random.random()))
        size = [_TOKENS_PER_BATCH // len(source) for source, _ in by_length]
        starts, index = [], 0
        while index < len(by_length):
            starts.append(index)
            index += size[index]
        random.shuffle(starts)
        for start in starts:
            batch = by_length[start : start + size[start]]
            yield padded([a for a, _ in batch], tokenizer.pad_token_id), padded([b for _, b in batch], _IGNORED)


def _train(model: Any, optimizer: Any, batches: Iterator[tuple[Any, Any]], steps: int) -> None:
    """Train for some steps; the learning rate warms up and then falls to 0."""
    import torch

    average = 0.0
    model.train()
    for step, (source, target) in enumerate(islice(batches, steps)):
        for group in optimizer.param_groups:
            group["lr"] = _RATE * min(1.0, step / _WARM_UP) * (1 - step / steps)
        loss = _loss(model, source, target)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average = loss.item() if step == 0 else 0.98 * average + 0.02 * loss.item()
        if step % 100 == 0:
            print(f"step {step} of {steps}, loss {average:.3f}", flush=True)


def _loss(model: Any, source: Any, target: Any) -> Any:
    import torch

    config = model.config
    start = torch.full((len(target), 1), config.decoder_start_token_id)
    before = torch.cat([start, target[:, :-1].masked_fill(target[:, :-1] == _IGNORED, config.pad_token_id)], 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mask = (source != config.pad_token_id).long()
        logits = model(input_ids=source, attention_mask=mask, decoder_input_ids=before).logits
    return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), target.flatten(), ignore_index=_IGNORED)


if __name__ == "__main__":
    main()

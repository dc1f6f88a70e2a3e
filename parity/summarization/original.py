"""The original: a BART, mBART or Pegasus with `generate` of transformers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...artifacts.families.summarization import ExpectedSummary, GenerationDefaults
from ...artifacts.originals import original_errors
from ...runtime.summarization.summarizer import token_ids

# torch and transformers are imported in the functions that use them: the report and the metrics do not need them


@dataclass(frozen=True)
class OriginalSummarizer:
    """The original's model and tokenizer, the separator between messages, and the maximum number of input tokens.

    An input whose settings are `defaults`, those of the manifest, is summarized with the original's own defaults, so
    that a wrong one in the manifest shows as a difference. None passes the settings of every input to the original.
    """

    model: Any
    tokenizer: Any
    separator: str
    max_tokens: int
    defaults: GenerationDefaults | None = None


@dataclass(frozen=True)
class OriginalSummary:
    """The original's summary of one input, its sequence score, and whether the input was cut."""

    expected: ExpectedSummary
    score: float
    truncated: bool


@original_errors("transformers")
def load_original(
    folder: Path,
    separator: str,
    max_tokens: int,
    *,
    defaults: GenerationDefaults | None = None,
    allow_pickle: bool = False,
) -> OriginalSummarizer:
    """Load the original on the CPU in float32, the precision of the fp32 variant.

    :param defaults: see `OriginalSummarizer`.
    """
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    arguments: dict[str, Any] = {"dtype": torch.float32, "local_files_only": True, "trust_remote_code": False}
    if not allow_pickle:
        arguments["use_safetensors"] = True
    model: Any = AutoModelForSeq2SeqLM.from_pretrained(str(folder), **arguments)
    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    return OriginalSummarizer(model.eval(), tokenizer, separator, max_tokens, defaults)


@original_errors("transformers")
def original_summaries(
    original: OriginalSummarizer, inputs: Sequence[Sequence[str]], settings: Sequence[GenerationDefaults]
) -> list[OriginalSummary]:
    """Summarize every list of messages with `generate`, each in a separate call and with its own settings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hides a warning about settings that greedy search ignores
        return [
            _summary(original, original.separator.join(messages), chosen)
            for messages, chosen in zip(inputs, settings, strict=True)
        ]


def _summary(original: OriginalSummarizer, text: str, settings: GenerationDefaults) -> OriginalSummary:
    import torch

    tokenizer, limit = original.tokenizer, original.max_tokens
    whole = len(tokenizer(text, truncation=False, verbose=False)["input_ids"])
    encoded = tokenizer(text, truncation=True, max_length=limit, return_tensors="pt")
    with torch.no_grad():
        output = original.model.generate(
            input_ids=encoded["input_ids"],
            attention_mask=encoded["attention_mask"],
            **({} if settings == original.defaults else asdict(settings)),
            return_dict_in_generate=True,
            output_scores=True,
            output_logits=True,
        )
    config = original.model.generation_config
    eos = config.eos_token_id[0] if isinstance(config.eos_token_id, list) else config.eos_token_id
    ids = token_ids(output.sequences[0].numpy(), eos, config.pad_token_id)
    score = (
        greedy_score(ids, output.logits, settings, config) if settings.num_beams == 1 else output.sequences_scores[0]
    )
    decoded = tokenizer.decode(list(ids), skip_special_tokens=True)
    return OriginalSummary(ExpectedSummary(decoded, ids), float(score), whole > limit)


def greedy_score(ids: Sequence[int], logits: Sequence[Any], settings: GenerationDefaults, config: Any) -> float:
    """Compute the score of a beam search with one beam, because `generate` returns no score for greedy search.

    :param ids: the token ids with the decoder's start token.
    :param logits: the unprocessed logits of every generated token, float32 `[1, vocabulary]`.
    """
    import torch

    total = np.float32(0)
    for index, (token, row) in enumerate(zip(ids[1:], logits, strict=False), start=1):
        is_forced = (index == 1 and config.forced_bos_token_id is not None) or (
            index == settings.max_length - 1 and config.forced_eos_token_id is not None
        )
        total += np.float32(0) if is_forced else np.float32(torch.log_softmax(row[0].float(), -1)[token])
    return float(total / np.float32((len(ids) - 1) ** settings.length_penalty))

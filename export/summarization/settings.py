"""Reads a checkpoint's generation settings: constants of the graph, defaults of a call, and unsupported settings."""

from __future__ import annotations

from typing import Any

from ...artifacts.errors import BuildError
from ...artifacts.families.summarization import FixedGeneration, GenerationDefaults, SummarizationSpec

# The separator between the messages of one input
_SEPARATOR = " "
# Without a `max_length`, `generate` makes 20 tokens after the decoder's start token
_DEFAULT_LENGTH = 21
_IMPLEMENTED = frozenset(
    {
        "bos_token_id",
        "decoder_start_token_id",
        "early_stopping",
        "eos_token_id",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "length_penalty",
        "max_length",
        "min_length",
        "no_repeat_ngram_size",
        "num_beams",
        "pad_token_id",
    }
)
# Generation settings that do not change the generated tokens: bookkeeping, output formats, caches, and sampling.
_WITHOUT_EFFECT = frozenset(
    {
        "_from_model_config",
        "cache_config",
        "cache_implementation",
        "disable_compile",
        "epsilon_cutoff",
        "eta_cutoff",
        "min_p",
        "output_attentions",
        "output_hidden_states",
        "output_logits",
        "output_scores",
        "return_dict_in_generate",
        "temperature",
        "top_h",
        "top_k",
        "top_p",
        "transformers_version",
        "typical_p",
        "use_cache",
    }
)
# For settings that are not implemented: the values with which they have no effect
_NEUTRAL = {
    "diversity_penalty": 0.0,
    "do_sample": False,
    "encoder_no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "guidance_scale": 1.0,
    "is_assistant": False,
    "low_memory": False,
    "num_beam_groups": 1,
    "num_return_sequences": 1,
    "remove_invalid_values": False,
    "renormalize_logits": False,
    "repetition_penalty": 1.0,
    "token_healing": False,
}


def describe_generation(settings: Any, max_target_tokens: int, vocab_size: int) -> SummarizationSpec:
    """Return the section of the manifest that describes a `GenerationConfig` of transformers.

    :param max_target_tokens: the number of the decoder's positions.
    :raises BuildError: with the code `unsupported_model`, naming every setting that cannot be reproduced.
    """
    if problems := _problems(settings, max_target_tokens, vocab_size):
        raise BuildError(
            "unsupported_model",
            f"generation_config has {'; '.join(problems)}",
            hint="If the model also works without these settings, change them in generation_config.json.",
        )
    return SummarizationSpec(
        join=_SEPARATOR,
        decoder_start_token_id=settings.decoder_start_token_id,
        eos_token_id=_single(settings.eos_token_id),
        max_target_tokens=max_target_tokens,
        defaults=_defaults(settings, max_target_tokens),
        fixed=FixedGeneration(
            no_repeat_ngram_size=settings.no_repeat_ngram_size or 0,
            early_stopping=False if settings.early_stopping is None else settings.early_stopping,
            forced_bos_token_id=settings.forced_bos_token_id,
            forced_eos_token_id=settings.forced_eos_token_id,
        ),
    )


def _defaults(settings: Any, max_target_tokens: int) -> GenerationDefaults:
    """Return the default settings of a call; a setting that the checkpoint lacks has the default of `generate`."""
    return GenerationDefaults(
        num_beams=settings.num_beams or 1,
        min_length=settings.min_length or 0,
        max_length=min(_DEFAULT_LENGTH, max_target_tokens) if settings.max_length is None else settings.max_length,
        length_penalty=1.0 if settings.length_penalty is None else float(settings.length_penalty),
    )


def _problems(settings: Any, max_target_tokens: int, vocab_size: int) -> list[str]:
    problems = _unknown_settings(settings)
    if settings.decoder_start_token_id is None:
        problems.append("no decoder_start_token_id (for mBART: the language code of the summaries)")
    elif not isinstance(settings.decoder_start_token_id, int):
        problems.append(f"decoder_start_token_id = {settings.decoder_start_token_id!r}, but one token is supported")
    if not isinstance(_single(settings.eos_token_id), int):
        problems.append(f"eos_token_id = {settings.eos_token_id!r}, but exactly one token is supported")
    if not isinstance(_single(settings.forced_eos_token_id), int | None):
        problems.append(f"forced_eos_token_id = {settings.forced_eos_token_id!r}, but at most one token is supported")
    if settings.early_stopping not in (None, True, False, "never"):
        problems.append(f"early_stopping = {settings.early_stopping!r}")
    defaults = _defaults(settings, max_target_tokens)
    if not 2 <= defaults.max_length <= max_target_tokens:
        problems.append(f"max_length = {defaults.max_length} with positions for {max_target_tokens} tokens")
    if defaults.min_length > defaults.max_length:
        problems.append(f"min_length = {defaults.min_length} above max_length = {defaults.max_length}")
    if 2 * defaults.num_beams > vocab_size:
        problems.append(f"num_beams = {defaults.num_beams} for {vocab_size} tokens in the vocabulary")
    return problems


def _unknown_settings(settings: Any) -> list[str]:
    """Return the settings that change the result and are not implemented, each as `name = value`."""
    values = {name: value for name, value in settings.to_dict().items() if value is not None}
    unknown = sorted(set(values) - _IMPLEMENTED - _WITHOUT_EFFECT)
    return [f"{name} = {values[name]!r}" for name in unknown if _NEUTRAL.get(name, ()) != values[name]]


def _single(value: Any) -> Any:
    """Return the element of a list with one element; any other value unchanged."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value

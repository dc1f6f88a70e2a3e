"""Summarizers that cannot be reproduced or are not safe to load are refused; the error names the reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from changed_checkpoints import change_json
from onnx_ml_bridge.artifacts.families.summarization import FixedGeneration, GenerationDefaults
from onnx_ml_bridge.export.summarization.pipeline import LoadedSummarizer, export_model, load_model
from onnx_ml_bridge.export.summarization.settings import describe_generation
from refusing import refused
from safetensors.torch import load_file, save_file
from small_seq2seq import POSITIONS, generation_config, make_bart, make_summarizer
from transformers import PreTrainedTokenizerFast


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bart(tmp_path_factory.mktemp("pristine"))


@pytest.fixture
def folder(pristine, tmp_path) -> Path:
    """A copy of a model's folder, which a test may modify."""
    return Path(shutil.copytree(pristine, tmp_path / "corrupted"))


def export(loaded: LoadedSummarizer, folder: Path) -> None:
    """Export to a staging folder, which must be empty if the export is refused."""
    staging = folder.parent / "staging"
    staging.mkdir()
    try:
        export_model(loaded, folder, staging)
    finally:
        assert not list(staging.iterdir())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "t5"}, ["t5", "BartForConditionalGeneration"]),
        ({"model_type": "mbart"}, ["BartForConditionalGeneration, not MBartForConditionalGeneration"]),
        ({"model_type": "blenderbot-small"}, ["blenderbot-small", "PegasusForConditionalGeneration"]),
        ({"model_type": "marian"}, ["marian"]),
        ({"model_type": "bigbird_pegasus"}, ["bigbird_pegasus"]),
        ({"model_type": "plbart"}, ["plbart"]),
        ({"architectures": ["BartForSequenceClassification"]}, ["BartForSequenceClassification"]),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, ["already quantized"]),
        ({"model_type": "t5", "quantization_config": {"load_in_8bit": True}}, ["t5", "already quantized"]),
    ],
)
def test_other_architectures_are_refused_by_name_before_loading(folder, changes, words):
    change_json(folder / "config.json", **changes)
    (folder / "model.safetensors").unlink()
    with refused("unsupported_model", *words):
        load_model(folder)


def test_a_checkpoint_without_all_weights_is_refused(folder):
    weights = load_file(folder / "model.safetensors")
    lost = next(name for name in weights if name.endswith("fc1.weight"))
    save_file(
        {name: each for name, each in weights.items() if name != lost},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    with refused("unsupported_model", "fc1"):
        load_model(folder)


def without_positions(folder: Path) -> None:
    """Remove the position tables from a checkpoint."""
    weights = load_file(folder / "model.safetensors")
    kept = {name: each for name, each in weights.items() if "embed_positions" not in name}
    assert len(kept) == len(weights) - 2
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_pegasus_without_its_computed_positions_is_accepted(tmp_path):
    folder = make_summarizer(tmp_path / "pegasus", "pegasus")
    whole = load_model(folder).model.state_dict()
    without_positions(folder)
    loaded = load_model(folder).model.state_dict()
    assert all(torch.equal(each, loaded[name]) for name, each in whole.items())


def test_an_mbart_without_its_learned_positions_is_refused(tmp_path):
    folder = make_summarizer(tmp_path / "mbart", "mbart")
    without_positions(folder)
    with refused("unsupported_model", "missing", "model.encoder.embed_positions.weight"):
        load_model(folder)


def test_pickled_weights_are_refused_unless_they_are_allowed(folder):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with refused("source", "cannot load"):
        load_model(folder)
    assert load_model(folder, allow_pickle=True).model.dtype == torch.float32


def test_half_precision_weights_are_converted_to_float32(folder):
    weights = {name: each.half() for name, each in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    change_json(folder / "config.json", dtype="float16")
    assert load_model(folder).model.dtype == torch.float32


def test_tables_that_are_not_shared_are_refused(folder):
    loaded = load_model(folder)
    loaded.model.lm_head.weight = torch.nn.Parameter(loaded.model.lm_head.weight.detach().clone())
    with refused("unsupported_model", "share one"):
        export(loaded, folder)


def test_a_tokenizer_of_another_kind_is_refused(folder):
    loaded = load_model(folder)
    words = json.loads(loaded.tokenizer.backend_tokenizer.to_str())
    words["model"] = {"type": "WordLevel", "vocab": {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}, "unk_token": "<unk>"}
    (folder / "words.json").write_text(json.dumps(words))
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "words.json"), pad_token="<pad>")
    with refused("unsupported_model", "WordLevel"):
        export(LoadedSummarizer(loaded.model, tokenizer), folder)


def test_a_decoder_without_a_padding_token_is_refused(folder):
    change_json(folder / "generation_config.json", pad_token_id=None)
    change_json(folder / "config.json", pad_token_id=None)
    with refused("unsupported_model", "no pad_token_id", "padding token"):
        export(load_model(folder), folder)


def test_another_padding_token_of_decoder_and_tokenizer_is_refused(folder):
    change_json(folder / "generation_config.json", pad_token_id=3)
    with refused("unsupported_model", "padding token 3", "1 in the tokenizer"):
        export(load_model(folder), folder)


def test_a_tokenizer_without_a_padding_token_is_refused(folder):
    loaded = load_model(folder)
    loaded.tokenizer.pad_token = None
    with refused("unsupported_model", "tokenizer without a padding token"):
        export(loaded, folder)


def test_a_model_whose_answers_depend_on_padding_is_refused(folder):
    loaded = load_model(folder)

    def add_mean(module: object, inputs: object, output: torch.Tensor) -> torch.Tensor:
        return output + output.mean(1, keepdim=True)  # the mean includes the padding

    loaded.model.model.encoder.layers[0].register_forward_hook(add_mean)
    with refused("unsupported_model", "BartForConditionalGeneration itself answers differently", "padding"):
        export(loaded, folder)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"decoder_start_token_id": None}, ["no decoder_start_token_id", "language code"]),
        ({"decoder_start_token_id": [2, 3]}, ["decoder_start_token_id", "one token"]),
        ({"repetition_penalty": 1.2}, ["repetition_penalty = 1.2"]),
        ({"bad_words_ids": [[5]]}, ["bad_words_ids"]),
        ({"num_beam_groups": 2}, ["num_beam_groups = 2"]),
        ({"do_sample": True}, ["do_sample = True"]),
        ({"encoder_no_repeat_ngram_size": 3}, ["encoder_no_repeat_ngram_size = 3"]),
        ({"max_new_tokens": 12}, ["max_new_tokens = 12"]),
        ({"suppress_tokens": [4]}, ["suppress_tokens"]),
        ({"max_length": POSITIONS + 1}, [f"max_length = {POSITIONS + 1} with positions for {POSITIONS}"]),
        ({"min_length": 30}, ["min_length = 30 above max_length = 24"]),
        ({"early_stopping": "sometimes"}, ["early_stopping = 'sometimes'"]),
        ({"num_beams": 60}, ["num_beams = 60 for 90 tokens"]),
        ({"forced_eos_token_id": [2, 3]}, ["forced_eos_token_id"]),
        ({"repetition_penalty": 1.2, "bad_words_ids": [[5]]}, ["bad_words_ids", "repetition_penalty"]),
    ],
)
def test_all_unsupported_generation_settings_are_named_at_once(settings, words):
    given = generation_config()
    for name, value in settings.items():
        setattr(given, name, value)  # a file can have values that the constructor refuses
    with refused("unsupported_model", *words):
        describe_generation(given, POSITIONS, 90)


@pytest.mark.parametrize(("positions", "length"), [(POSITIONS, 21), (16, 16)])
def test_the_default_length_is_20_tokens_after_the_start_token(positions, length):
    assert describe_generation(generation_config(max_length=None), positions, 90).defaults.max_length == length


@pytest.mark.parametrize("tokens", [[2, 3], None])
def test_several_end_tokens_or_none_are_refused(tokens):
    given = generation_config()
    given.eos_token_id = tokens
    with refused("unsupported_model", "eos_token_id"):
        describe_generation(given, POSITIONS, 90)


def test_settings_without_effect_are_accepted():
    given = generation_config(early_stopping="never", no_repeat_ngram_size=0, forced_bos_token_id=None)
    given.temperature, given.top_k, given.repetition_penalty, given.use_cache = 0.7, 50, 1.0, True
    spec = describe_generation(given, POSITIONS, 90)
    assert spec.fixed == FixedGeneration(0, "never", None, 2)
    assert spec.defaults == GenerationDefaults(num_beams=4, min_length=4, max_length=24, length_penalty=1.0)
    assert (spec.join, spec.decoder_start_token_id, spec.eos_token_id, spec.max_target_tokens) == (" ", 2, 2, POSITIONS)

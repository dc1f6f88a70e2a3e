"""Convert a summarization model to the format of CTranslate2, and run it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from ..contenders import Job
from ..tasks import Run

_CONFIG = "config.json"
# Settings that CTranslate2's converter requires, although transformers no longer writes them to config.json. Every BART
# model has these values.
_OLD_SETTINGS = {"normalize_before": False, "normalize_embedding": True, "add_final_layer_norm": False}


def convert(model: Path, folder: Path) -> tuple[Path, str]:
    """Convert a model of transformers.

    :return: a new subfolder of `folder`, and an error message, which is empty if the conversion succeeded.
    """
    target = folder / "ctranslate2"
    try:
        from ctranslate2.converters import TransformersConverter

        TransformersConverter(str(_complete(model, folder / "ctranslate2-source"))).convert(str(target))
    except Exception as error:  # the library documents no exceptions
        target.mkdir(exist_ok=True)
        return target, f"{type(error).__name__}: {error}".replace(str(folder), "…").splitlines()[0]
    for name in ("tokenizer.json", "generation_config.json"):
        shutil.copy(model / name, target / name)
    return target, ""


def load(job: Job) -> Run:
    """Load a converted model; the returned function returns the number of tokens of every summary."""
    import ctranslate2
    from tokenizers import Tokenizer

    folder = Path(job.source)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    search = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
    translator = ctranslate2.Translator(
        str(folder), compute_type=job.variant, intra_threads=job.threads, inter_threads=1
    )

    def summarize(texts: list[str]) -> list[int]:
        tokens = [tokenizer.encode(text).tokens for text in texts]
        results = translator.translate_batch(
            tokens,
            beam_size=search["num_beams"],
            length_penalty=search.get("length_penalty") or 1.0,
            min_decoding_length=max(1, (search.get("min_length") or 0) - 1),
            max_decoding_length=search["max_length"] - 1,
            no_repeat_ngram_size=search.get("no_repeat_ngram_size") or 0,
        )
        return [1 + len(each.hypotheses[0]) for each in results]  # a hypothesis does not include the end token

    return summarize


def _complete(model: Path, folder: Path) -> Path:
    """Copy a model and add what CTranslate2's converter requires.

    It requires a token for every id of the embedding table, and settings that transformers no longer reads or writes.
    """
    from transformers import AutoConfig, AutoTokenizer

    folder.mkdir()
    for file in model.iterdir():
        if file.is_file() and not file.name.startswith(("tokenizer", _CONFIG)):
            (folder / file.name).symlink_to(file.resolve())
    config = json.loads((model / _CONFIG).read_text(encoding="utf-8"))
    (folder / _CONFIG).write_text(json.dumps(_OLD_SETTINGS | config), encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(model)
    missing = range(len(tokenizer), AutoConfig.from_pretrained(model).vocab_size)
    tokenizer.add_tokens([f"<unused {index}>" for index in missing])
    tokenizer.save_pretrained(folder)
    return folder

"""A summarization model in the format of CTranslate2, and how it is called."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from ..contenders import Job, Unavailable
from ..tasks import Run


def convert(model: Path, folder: Path) -> tuple[Path, str]:
    """Convert a model of transformers; the result is a folder below `folder`, and what failed or an empty text."""
    target = folder / "ctranslate2"
    try:
        from ctranslate2.converters import TransformersConverter

        TransformersConverter(str(_with_whole_vocabulary(model, folder / "ctranslate2-source"))).convert(str(target))
    except Exception as error:  # of another library, which documents none
        target.mkdir(exist_ok=True)
        return target, f"{type(error).__name__}: {error}".replace(str(folder), "…").splitlines()[0]
    for name in ("tokenizer.json", "generation_config.json"):
        shutil.copy(model / name, target / name)
    return target, ""


def load(job: Job) -> Run:
    """Load a converted model; a call returns the number of tokens of every summary.

    :raises Unavailable: when the conversion failed.
    """
    if problem := job.options.get("unavailable"):
        raise Unavailable(problem)
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
        return [1 + len(each.hypotheses[0]) for each in results]  # the start token is no part of a hypothesis

    return summarize


def _with_whole_vocabulary(model: Path, folder: Path) -> Path:
    """The same model with a token for every id of its embedding table, which CTranslate2's converter requires."""
    from transformers import AutoConfig, AutoTokenizer

    folder.mkdir()
    for file in model.iterdir():
        if not file.name.startswith("tokenizer"):
            (folder / file.name).symlink_to(file.resolve())
    tokenizer = AutoTokenizer.from_pretrained(model)
    missing = range(len(tokenizer), AutoConfig.from_pretrained(model).vocab_size)
    tokenizer.add_tokens([f"<unused {index}>" for index in missing])
    tokenizer.save_pretrained(folder)
    return folder

"""The process of one contender for summaries: `python -m benchmarks.summary_worker KIND FOLDER THREADS`.

It loads, says `{"load_s"}`, and then answers each `{"texts": [...]}` with `{"seconds", "tokens", "peak_bytes"}`: all
texts in one batch, tokenizing included, with the search of the model's own generation settings.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from .contenders import Unavailable
from .worker import claim_stdout, say

ORIGINAL, CTRANSLATE2, OURS = "transformers", "ctranslate2", "ours"
# Texts in, token ids of every summary out.
Summarize = Callable[[list[str]], list[list[int]]]


def main(kind: str, folder: str, threads: str) -> None:
    """Load and serve."""
    channel = claim_stdout()
    family, _, variant = kind.partition(":")
    started = time.perf_counter()
    try:
        summarize = _LOADERS[family](Path(folder), variant, int(threads))
    except (ImportError, Unavailable) as error:
        say(channel, {"unavailable": str(error)})
        return
    say(channel, {"load_s": time.perf_counter() - started})
    for line in sys.stdin:
        texts = json.loads(line)["texts"]
        began = time.perf_counter()
        found = summarize(texts)
        seconds = time.perf_counter() - began
        say(channel, {"seconds": seconds, "tokens": [len(each) for each in found], "peak_bytes": _peak_bytes()})


def _peak_bytes() -> int:
    """The peak of resident memory since this program began; getrusage would count who started it, too."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def _load_original(folder: Path, _: str, threads: int) -> Summarize:
    import torch
    from transformers import AutoTokenizer, BartForConditionalGeneration

    torch.set_num_threads(threads)
    model = BartForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def summarize(texts: list[str]) -> list[list[int]]:
        batch = tokenizer(texts, padding=True, return_tensors="pt")
        with torch.inference_mode():
            found = model.generate(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        return [row.tolist() for row in found]

    return summarize


def _load_ctranslate2(folder: Path, variant: str, threads: int) -> Summarize:
    import ctranslate2
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    search = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
    translator = ctranslate2.Translator(str(folder), compute_type=variant, intra_threads=threads, inter_threads=1)

    def summarize(texts: list[str]) -> list[list[int]]:
        tokens = [tokenizer.encode(text).tokens for text in texts]
        found = translator.translate_batch(
            tokens,
            beam_size=search["num_beams"],
            length_penalty=search["length_penalty"],
            min_decoding_length=search["min_length"] - 1,
            max_decoding_length=search["max_length"] - 1,
            no_repeat_ngram_size=search["no_repeat_ngram_size"],
        )
        return [[0, *(tokenizer.token_to_id(token) or 0 for token in each.hypotheses[0])] for each in found]

    return summarize


def _load_ours(folder: Path, variant: str, threads: int) -> Summarize:
    from onnx_ml_bridge.runtime.summarization.summarizer import Summarizer

    summarizer = Summarizer.open(folder, variant, threads=threads)
    summarizer.load()
    return lambda texts: [list(each.token_ids) for each in summarizer.summarize_detailed([[text] for text in texts])]


_LOADERS = {ORIGINAL: _load_original, CTRANSLATE2: _load_ctranslate2, OURS: _load_ours}


if __name__ == "__main__":
    main(*sys.argv[1:])

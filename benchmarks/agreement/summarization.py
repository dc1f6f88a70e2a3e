"""Summaries of texts that people summarized: generate against fp32 and int8, and each against the people.

python -m benchmarks.summary_agreement --model DIR --artifact DIR [--rust BINARY] [--documents 200]

The texts are package descriptions, the summaries their short forms, from Debian's list of translations into English
(`apt-get -o Acquire::Languages=en update` brings it); the small trained model of tests/models has never seen the first
1,000 of the shuffled pairs, which these are taken from.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from onnx_ml_bridge.parity.summarization.original import OriginalSummary, load_original, original_summaries
from onnx_ml_bridge.parity.summarization.rouge import mean_rouge
from onnx_ml_bridge.runtime.summarization.summarizer import Summarizer, Summary
from rich.console import Console
from rich.table import Table

from .children import child_environment

_RECIPE = Path(__file__).parent.parent / "tests/models/bart-package-descriptions"
_HELD_OUT = 1000
_TIE = 1e-5
_BATCH_DOCUMENTS = 300


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare and print; the exit status is 1 where fp32 differs from generate, or Rust from Python."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.summary_agreement", description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=_RECIPE, help="the original (default: tests/models)")
    parser.add_argument("--artifact", type=Path, required=True, help="folder of the artifact made from it")
    parser.add_argument("--rust", type=Path, help="the crate's command onnx-ml-bridge, a release build")
    parser.add_argument("--documents", type=int, default=200, help="texts, 1,000 at most (default: 200)")
    options = parser.parse_args(arguments)
    pairs = held_out_pairs()[: options.documents]
    texts, references = [long for long, _ in pairs], [short for _, short in pairs]
    summarizers = {name: Summarizer.open(options.artifact, name) for name in ("fp32", "int8")}
    found = {name: _summaries(each, texts) for name, each in summarizers.items()}
    spec = summarizers["fp32"].model.spec
    original = load_original(options.model, spec.join, summarizers["fp32"].model.tokenizer.spec.max_tokens)
    expected = original_summaries(original, [[text] for text in texts], [spec.defaults] * len(texts))
    differing, ties = differences(expected, found["fp32"])
    _print(references, expected, found)
    print(f"fp32 against generate: {differing} of {len(texts)} differ, {len(ties)} ties {ties}")
    alone = {name: alone_differing(each, texts[:_BATCH_DOCUMENTS], found[name]) for name, each in summarizers.items()}
    print(f"each text alone against its batch, {min(len(texts), _BATCH_DOCUMENTS)} texts: {alone}")
    rust = (
        {name: rust_differing(options.rust, options.artifact, name, texts, found[name]) for name in found}
        if options.rust
        else {}
    )
    print(f"Rust against Python: {rust or 'not asked for'}")
    sys.exit(1 if differing or any(rust.values()) else 0)


def held_out_pairs() -> list[tuple[str, str]]:
    """(long, short) descriptions that the small trained model has not seen, by its own recipe."""
    sys.path.insert(0, str(_RECIPE))
    try:
        from recipe import load_pairs  # type: ignore[import-not-found]

        return list(load_pairs()[:_HELD_OUT])
    except ValueError as error:  # no list was found
        raise SystemExit("error: no list of descriptions; run: apt-get -o Acquire::Languages=en update") from error
    finally:
        sys.path.pop(0)


def differences(expected: Sequence[OriginalSummary], found: Sequence[Summary]) -> tuple[int, list[tuple[float, float]]]:
    """How many token ids differ, and the two scores of each difference that float noise decides."""
    ties, count = [], 0
    for required, got in zip(expected, found, strict=True):
        if required.expected.token_ids != got.token_ids:
            is_tie = abs(required.score - got.score) < _TIE
            count += not is_tie
            ties += [(required.score, got.score)] * is_tie
    return count, ties


def alone_differing(summarizer: Summarizer, texts: Sequence[str], batched: Sequence[Summary]) -> int:
    """How many texts have another summary alone than among others."""
    alone = [summarizer.summarize_detailed([[text]])[0] for text in texts]
    return sum(a.token_ids != b.token_ids for a, b in zip(alone, batched, strict=False))


def rust_differing(rust: Path, artifact: Path, variant: str, texts: Sequence[str], found: Sequence[Summary]) -> int:
    """How many summaries of the Rust command are not Python's: text, number of tokens and whether the text was cut."""
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    command = [str(rust), "summarize", "--model", str(artifact), "--variant", variant]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True, env=child_environment())
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    expected = [{"summary": each.text, "tokens": each.tokens, "truncated": each.truncated} for each in found]
    return sum(a != b for a, b in zip(answers, expected, strict=True))


def _summaries(summarizer: Summarizer, texts: Sequence[str]) -> list[Summary]:
    return summarizer.summarize_detailed([[text] for text in texts])


def _print(references: Sequence[str], expected: Sequence[OriginalSummary], found: dict[str, list[Summary]]) -> None:
    table = Table("", "ROUGE-1", "ROUGE-2", "ROUGE-L", title=f"F1 in points, {len(references)} texts")
    fp32 = [each.text for each in found["fp32"]]
    rows = {
        "generate": [each.expected.text for each in expected],
        "fp32": fp32,
        "int8": [each.text for each in found["int8"]],
    }
    for name, summaries in rows.items():
        table.add_row(name, *(f"{100 * value:.2f}" for value in asdict(mean_rouge(summaries, references)).values()))
    against = asdict(mean_rouge(rows["int8"], fp32)).values()
    table.add_row("int8 against fp32", *(f"{100 * value:.2f}" for value in against))
    console = Console()
    console.print(table)
    other = sum(a.token_ids != b.token_ids for a, b in zip(found["fp32"], found["int8"], strict=True))
    console.print(f"int8 differs from fp32 in {other} of {len(references)}", highlight=False)


if __name__ == "__main__":
    main()

"""Compare the summaries of an artifact with those of transformers' `generate`.

Summaries in batches are also compared with summaries of single texts, and summaries by Rust with summaries by Python.

The texts are long descriptions of Debian packages, and the reference summaries are their short descriptions. Both are
in Debian's list of English descriptions, which `apt-get -o Acquire::Languages=en update` downloads. Only the first
1,000 of the shuffled pairs are used, because the small models were trained on the others: the BART in tests/models, and
those of the recipe package_summarizers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from onnx_ml_bridge import Model, Summarizer, Summary
from onnx_ml_bridge.artifacts.checks import read_artifact
from onnx_ml_bridge.artifacts.families.summarization import SummarizationSpec
from onnx_ml_bridge.artifacts.manifest_sections import TokenizerSpec
from onnx_ml_bridge.parity.summarization.original import OriginalSummary, load_original, original_summaries
from onnx_ml_bridge.parity.summarization.rouge import mean_rouge
from rich.console import Console
from rich.table import Table

from ..corpora.package_descriptions import HELD_OUT, RECIPE, description_pairs
from ..environment import child_environment

_TIE = 1e-5
_ALONE = 300


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add("--model", type=Path, default=RECIPE, metavar="DIR", help="the original (default: that of tests/models)")
    add("--artifact", type=Path, required=True, metavar="DIR", help="folder of the artifact made from it")
    add("--rust", type=Path, metavar="BINARY", help="the crate's command, a release build")
    add("--documents", type=int, default=200, metavar="N", help="number of texts, up to 1,000 (default: %(default)s)")


def run(options: argparse.Namespace) -> bool:
    """Compare the summaries and print the results.

    :return: whether the fp32 summaries equal those of `generate`, no summary depends on its batch, and the summaries by
        Rust equal those by Python.
    :raises Unavailable: if the machine has no list of descriptions.
    """
    pairs = description_pairs()[:HELD_OUT][: options.documents]
    texts, references = [long for long, _ in pairs], [short for _, short in pairs]
    summarizers = {name: Summarizer.open(Model(options.artifact, variant=name)) for name in ("fp32", "int8")}
    actual = {name: _summaries(each, texts) for name, each in summarizers.items()}
    expected = _original_summaries(options.model, summarizers["fp32"], texts)
    differing, ties = differences(expected, actual["fp32"])
    _print(references, expected, actual)
    print(f"fp32 against generate: {differing} of {len(texts)} differ, {len(ties)} ties {ties}")
    alone = {name: alone_differing(each, texts[:_ALONE], actual[name]) for name, each in summarizers.items()}
    print(f"each text alone against its batch, {min(len(texts), _ALONE)} texts: {alone}")
    rust = {
        name: rust_differing(options.rust, options.artifact, name, texts, summaries)
        for name, summaries in actual.items()
        if options.rust
    }
    print(f"Rust against Python: {rust or 'not run'}")
    return not (differing or any(alone.values()) or any(rust.values()))


def differences(
    expected: Sequence[OriginalSummary], actual: Sequence[Summary]
) -> tuple[int, list[tuple[float, float]]]:
    """Compare the token ids of summaries.

    :return: the number of differing summaries that are not ties, and both scores of each tie. A tie is a differing
        summary whose two scores are closer than `_TIE`, so that rounding errors decide.
    """
    differing = [
        (original.score, summary.score)
        for original, summary in zip(expected, actual, strict=True)
        if original.expected.token_ids != summary.token_ids
    ]
    ties = [scores for scores in differing if abs(scores[0] - scores[1]) < _TIE]
    return len(differing) - len(ties), ties


def alone_differing(summarizer: Summarizer, texts: Sequence[str], batched: Sequence[Summary]) -> int:
    """Return the number of texts whose summary differs if they are summarized alone instead of in a batch."""
    alone = [summarizer.summarize([[text]])[0] for text in texts]
    return sum(a.token_ids != b.token_ids for a, b in zip(alone, batched, strict=False))


def rust_differing(rust: Path, artifact: Path, variant: str, texts: Sequence[str], expected: Sequence[Summary]) -> int:
    """Return the number of summaries that differ between Rust and Python in text, token count or truncation."""
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    command = [str(rust), "summarize", "--model", str(artifact), "--variant", variant]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True, env=child_environment())
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    records = [{"summary": each.text, "tokens": each.tokens, "truncated": each.truncated} for each in expected]
    return sum(a != b for a, b in zip(answers, records, strict=True))


def _summaries(summarizer: Summarizer, texts: Sequence[str]) -> list[Summary]:
    return summarizer.summarize([[text] for text in texts])


def _original_summaries(model: Path, summarizer: Summarizer, texts: Sequence[str]) -> list[OriginalSummary]:
    manifest = read_artifact(summarizer.info.path).manifest
    spec = manifest.section(SummarizationSpec)
    original = load_original(model, spec.join, manifest.section(TokenizerSpec).max_tokens)
    return original_summaries(original, [[text] for text in texts], [spec.defaults] * len(texts))


def _print(references: Sequence[str], expected: Sequence[OriginalSummary], actual: dict[str, list[Summary]]) -> None:
    table = Table("", "ROUGE-1", "ROUGE-2", "ROUGE-L", title=f"F1 in points, {len(references)} texts")
    rows = {"generate": [each.expected.text for each in expected]}
    rows |= {name: [each.text for each in summaries] for name, summaries in actual.items()}
    for name, summaries in rows.items():
        table.add_row(name, *_points(summaries, references))
    table.add_row("int8 against fp32", *_points(rows["int8"], rows["fp32"]))
    console = Console()
    console.print(table)
    other = sum(a.token_ids != b.token_ids for a, b in zip(actual["fp32"], actual["int8"], strict=True))
    console.print(f"int8 differs from fp32 in {other} of {len(references)}", highlight=False)


def _points(summaries: Sequence[str], references: Sequence[str]) -> list[str]:
    return [f"{100 * value:.2f}" for value in asdict(mean_rouge(summaries, references)).values()]

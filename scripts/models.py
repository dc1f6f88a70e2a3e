"""Writes docs/models.md from docs/models.json, in which the tests of the architectures record their results.

python scripts/models.py [--check]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "docs" / "models.json", ROOT / "docs" / "models.md"
HEAD = """# Models

Any encoder or decoder of which transformers has a class is accepted if its export returns the answers of the original,
for a text alone and in a batch with padding. Rerankers are sequence classifiers with one label; those of BERT, RoBERTa,
XLM-RoBERTa, ModernBERT and GTE are tested. Summarizers are BART, mBART (with 25 or 50 languages) and Pegasus. The
architectures below are tested, as small random models with the classes, tokenizers and pipelines of real ones. `make
architectures` runs the tests and writes this page with scripts/models.py.

What is refused, by name: other inputs than token ids, attention mask and token types; models that themselves answer
differently when padded, such as ConvBERT, FNet, Nystromformer and YOSO; summarizers without a padding token; weights
that are missing, of another shape, or unexpected, unless they are a head of the class that saved the checkpoint or a
pooler that nothing reads; chat templates; lengths or arguments of the tokenizer that only some calls of
sentence-transformers use (`query_length`, `document_length`, `processing_kwargs`); modules of sentence-transformers
other than Transformer, StaticEmbedding, Pooling, Dense, LayerNorm and Normalize; and code of the checkpoint
(`auto_map`), unless transformers has ported it (eurobert, gte, jina_embeddings_v3, nomic_bert) with the settings of the
checkpoint, or the option `ignore_code` is set.
"""
EMBEDDINGS = """
## Sentence embeddings

Largest differences of an element of any vector: fp32 and the original, a text alone and in a batch, Rust and Python.
The last column is the lowest cosine of int8 and the original. The hidden size is 128.

| architecture | `model_type` | fp32 | alone, fp32 | alone, int8 | Rust, fp32 | Rust, int8 | int8, cosine |
|---|---|---|---|---|---|---|---|
"""
ENTITIES = """
## Named entities

Entities of all aggregation strategies, with and without windows, and how many texts have other entities than in the
pipeline of transformers. The tokenizers are those of the architectures, one like Llama 3's (modernbert), and one with
byte fallback (eurobert).

| architecture | `model_type` | settings | texts | entities | differing, Python | differing, Rust |
|---|---|---|---|---|---|---|
"""
SUMMARIES = """
## Summaries

How many sequences differ from those of `generate`: of the search, over random token ids with many settings, and of
whole models with texts and random settings, in Python and in Rust.

| model | `model_type` | search | differing | summaries | differing, Python | differing, Rust |
|---|---|---|---|---|---|---|
"""
TOKENIZATIONS = """
How many tokenizations and decoded texts differ from those of transformers. The tokenizers are read from tokenizer.json,
or from a SentencePiece model; transformers cleans up the decoded text of the latter.

| tokenizer | source | texts | differing, Python | differing, Rust |
|---|---|---|---|---|
"""
_SEQUENCES = ("sequences", "search differing", "summaries", "python differing", "rust differing")
_TEXTS = ("texts", "python differing", "rust differing")
_DIFFERENCES = ("fp32", "alone fp32", "alone int8", "rust fp32", "rust int8")

Row = Mapping[str, Any]


def page(results: Mapping[str, Mapping[str, Row]]) -> str:
    """Return the text of docs/models.md."""
    embeddings = [_embedding(name, row) for name, row in sorted(results.get("embeddings", {}).items())]
    entities = [_entities(name, row) for name, row in sorted(results.get("entities", {}).items())]
    summaries = [_summaries(name, row) for name, row in sorted(results.get("summaries", {}).items())]
    tokenizations = [_tokenizations(row) for _, row in sorted(results.get("tokenizations", {}).items())]
    tables = [EMBEDDINGS, *embeddings, ENTITIES, *entities, SUMMARIES, *summaries, TOKENIZATIONS, *tokenizations]
    return "".join([HEAD, *tables])


def _embedding(name: str, row: Row) -> str:
    differences = [f"{row[key]:.1e}" if key in row else "not run" for key in _DIFFERENCES]
    cosine = f"{row['int8']:.4f}" if "int8" in row else "not run"
    return _line(name, f"`{row['model_type']}`", *differences, cosine)


def _entities(name: str, row: Row) -> str:
    counts = [_sum(row, "python", "texts"), _sum(row, "python", "entities")]
    differing = [_sum(row, language, "differing") for language in ("python", "rust")]
    settings = sum(key.startswith("python ") and key.endswith(" texts") for key in row)
    return _line(name, f"`{row['model_type']}`", str(settings), *counts, *differing)


def _summaries(name: str, row: Row) -> str:
    return _line(name, f"`{row['model_type']}`", *_counts(row, _SEQUENCES))


def _tokenizations(row: Row) -> str:
    return _line(row["tokenizer"], row["source"], *_counts(row, _TEXTS))


def _counts(row: Row, keys: Sequence[str]) -> list[str]:
    return [f"{row[key]:,}" if key in row else "not run" for key in keys]


def _sum(row: Row, language: str, figure: str) -> str:
    """Return the sum of a figure over all settings, or `not run`."""
    values = [row[key] for key in row if key.startswith(f"{language} ") and key.endswith(f" {figure}")]
    return f"{sum(values):,}" if values else "not run"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


def main() -> int:
    """Write the page; with --check return 1 if it is not up to date."""
    text = page(json.loads(RESULTS.read_text(encoding="utf-8")))
    if "--check" in sys.argv:
        return 0 if PAGE.read_text(encoding="utf-8") == text else 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

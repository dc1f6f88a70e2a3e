"""The model card: its facts and its table of variants come from the manifest, and its example runs."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from examples import examples
from onnx_ml_bridge.artifacts.card import model_card
from onnx_ml_bridge.artifacts.checks import read_artifact
from onnx_ml_bridge.artifacts.facts import headline, headlines

every_example = pytest.mark.parametrize(
    ("family", "folder"), examples().items(), ids=[family.name for family in examples()]
)


@every_example
def test_a_card_has_the_facts_of_its_family(family, folder):
    manifest = read_artifact(folder).manifest
    card = model_card(manifest, family)
    assert f"pipeline_tag: {family.pipeline_tag}\n---" in card and f"\n# {manifest.name} {manifest.version}\n" in card
    for title, fact in family.facts(manifest).items():
        assert f"\n- {title[0].upper()}{title[1:]}: {fact}.\n" in card


@every_example
def test_the_table_has_a_row_for_every_variant(family, folder):
    manifest = read_artifact(folder).manifest
    rows = [line for line in model_card(manifest, family).splitlines() if line.startswith("|")]
    titles = headlines(family, manifest.parity.variants.values())
    assert titles and rows[0] == f"| variant | graphs | {' | '.join(titles.values())} |"
    assert len(rows) == 2 + len(manifest.variants)
    for name, row in zip(sorted(manifest.variants), rows[2:], strict=True):
        figures = [headline(family, manifest.parity.variants[name], title) for title in titles]
        assert row.startswith(f"| {name} | `") and row.endswith(f"| {' | '.join(figures)} |")


@every_example
def test_the_example_of_a_card_runs(family, folder, capsys):
    (example,) = re.findall(r"```python\n(.*?)```", model_card(read_artifact(folder).manifest, family), re.DOTALL)
    exec(example.replace("path/to/this/folder", str(folder)), {})
    assert "Error" not in capsys.readouterr().out


def test_a_missing_license_and_revision_are_shown_as_unknown():
    family, folder = next(iter(examples().items()))
    manifest = read_artifact(folder).manifest
    named = replace(manifest, source=replace(manifest.source, kind="hub", id="a/b", revision="abc", license="mit"))
    card = model_card(named, family)
    assert card.startswith("---\nlicense: mit\n") and "`hub:a/b at abc`" in card
    unknown = replace(manifest, source=replace(manifest.source, revision=None, license=None))
    card = model_card(unknown, family)
    assert "not stated by its source" in card and "license:" not in card.partition("\n---\n")[0]

"""FORMAT.md defines every error code and every metric that the package declares."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from onnx_ml_bridge.artifacts import errors
from onnx_ml_bridge.artifacts.families import FAMILIES

TEXT = (Path(errors.__file__).parent / "FORMAT.md").read_text(encoding="utf-8")


def sections() -> dict[str, str]:
    """Return the sections of FORMAT.md by title."""
    titles = re.split(r"^## (.+)$", TEXT, flags=re.MULTILINE)[1:]
    return dict(zip(titles[::2], titles[1::2], strict=True))


def tables(text: str, first_column: str) -> list[list[list[str]]]:
    """Return the cells of the tables whose header starts with `first_column`, without their headers."""
    found = [block.splitlines()[2:] for block in text.split("\n\n") if block.startswith(f"| {first_column} |")]
    return [[[cell.strip() for cell in row.strip("|").split("|")] for row in rows] for rows in found]


def section_of(family) -> str:
    """Return the section of FORMAT.md that defines the task of a family."""
    chosen = [text for text in sections().values() if f"`task` is `{family.task}`" in text]
    assert len(chosen) == 1
    return chosen[0]


def test_the_tables_of_codes_are_those_of_the_package_in_order():
    first, second = (
        [row[0].strip("`") for row in table] for text in sections().values() for table in tables(text, "code")
    )
    assert first == list(errors.ARTIFACT_CODES)
    assert sorted(second) == sorted(errors.OTHER_CODES)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_metric_is_defined_with_the_direction_of_its_threshold(family):
    (rows,) = tables(section_of(family), "metric")
    bounds = {name: bound for names, bound, _ in rows for name in re.findall(r"`(\w+)`", names)}
    assert bounds == {metric.name: "max" if metric.is_upper_bound else "min" for metric in family.metrics}
    assert all(definition for _, _, definition in rows)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_section_of_a_task_names_its_revision_engine_and_roles(family):
    section = section_of(family)
    (title,) = (title for title, text in sections().items() if text == section)
    assert title.endswith(f"task revision {family.revision}")
    assert all(f"`{name}`" in section for name in (family.engine, *family.roles, *family.gates["fp32"]))

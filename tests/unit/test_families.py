"""The declarations of families are consistent, and unknown families are refused."""

from __future__ import annotations

import json

import pytest
from examples import examples
from onnx_ml_bridge import ArtifactError
from onnx_ml_bridge.artifacts.checks import read_artifact
from onnx_ml_bridge.artifacts.families import FAMILIES
from onnx_ml_bridge.artifacts.family import find_family, require_family
from onnx_ml_bridge.artifacts.golden import read_golden, write_golden
from onnx_ml_bridge.artifacts.manifest import parse_manifest
from onnx_ml_bridge.artifacts.schema import compose_schema

every_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


def test_names_and_pairs_of_task_and_engine_are_unique():
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    assert len({(family.task, family.engine) for family in FAMILIES}) == len(FAMILIES)


@every_family
def test_every_family_has_an_example(family):
    artifact = read_artifact(examples()[family])
    assert artifact.family is family
    assert set(family.schema["required"]) <= set(artifact.manifest.sections) <= set(family.sections)
    assert {role for variant in artifact.manifest.variants.values() for role in variant.graphs} <= set(family.roles)


@every_family
def test_a_family_is_found_by_task_and_engine_and_its_module_by_its_name(family):
    assert find_family(family.task, family.engine, FAMILIES) is family
    assert find_family(family.task, "steam", FAMILIES) is None and find_family(None, 1, FAMILIES) is None
    assert family.declaration == f"onnx_ml_bridge.artifacts.families.{family.name}:{family.name.upper()}"
    assert family.module("runtime").__name__ == f"onnx_ml_bridge.runtime.{family.name}"


@every_family
def test_metric_names_are_unique(family):
    names = [metric.name for metric in family.metrics]
    assert len(set(names)) == len(names) and family.metric(names[0]) is family.metrics[0]
    assert family.metric("beauty") is None


@every_family
def test_an_artifact_of_an_unknown_family_is_refused_with_its_task_and_engine(family):
    others = tuple(other for other in FAMILIES if other is not family)
    with pytest.raises(ArtifactError, match=f"{family.task!r}.*{family.engine!r}.*{others[0].task}") as refused:
        read_artifact(examples()[family], others)
    assert refused.value.code == "unknown_task" and "Upgrade onnx-ml-bridge" in str(refused.value)
    with pytest.raises(ArtifactError) as refused:
        require_family(family.task, family.engine, others)
    assert refused.value.code == "unknown_task"


@every_family
def test_a_later_task_revision_is_refused_before_the_schema_is_checked(family):
    manifest = {"format_version": 1, "task": family.task, "engine": family.engine, "task_revision": family.revision + 1}
    with pytest.raises(ArtifactError, match="revision") as refused:
        parse_manifest(json.dumps(manifest).encode())
    assert refused.value.code == "format_version"


@every_family
def test_a_section_of_another_family_violates_the_schema(family):
    manifest = json.loads((examples()[family] / "manifest.json").read_bytes())
    assert parse_manifest(json.dumps(manifest).encode(), [family]).sections
    key = next(key for other in FAMILIES for key in other.sections if key not in family.sections)
    with pytest.raises(ArtifactError, match=key) as refused:
        parse_manifest(json.dumps({**manifest, key: {}}).encode())
    assert refused.value.code == "schema"
    for key in family.schema["required"]:
        with pytest.raises(ArtifactError, match=key) as refused:
            parse_manifest(json.dumps({name: value for name, value in manifest.items() if name != key}).encode())
        assert refused.value.code == "schema"


@every_family
def test_a_role_of_another_family_violates_the_schema(family):
    manifest = json.loads((examples()[family] / "manifest.json").read_bytes())
    graphs = manifest["variants"]["fp32"]["graphs"]
    graphs["someone_elses"] = next(iter(graphs.values()))
    with pytest.raises(ArtifactError, match="someone_elses") as refused:
        parse_manifest(json.dumps(manifest).encode())
    assert refused.value.code == "schema"


def test_the_schema_covers_exactly_the_known_families():
    schema = compose_schema(FAMILIES)
    assert len(schema["allOf"]) == len(schema["anyOf"]) == len(FAMILIES)
    assert schema["unevaluatedProperties"] is False
    only = compose_schema(FAMILIES[:1])
    assert len(only["allOf"]) == 1 and set(only["$defs"]) <= set(schema["$defs"])


@every_family
def test_golden_cases_are_unchanged_after_reading_and_writing_them(family, tmp_path):
    path = examples()[family] / "golden.jsonl"
    cases = read_golden(path, family.case)
    write_golden(cases, tmp_path / "golden.jsonl")
    assert (tmp_path / "golden.jsonl").read_bytes() == path.read_bytes()
    assert [family.case.from_record(case.to_record()) for case in cases] == cases


@every_family
def test_cases_of_another_family_are_refused(family):
    other = next(each for each in FAMILIES if each.case is not family.case)
    with pytest.raises(ArtifactError) as refused:
        read_golden(examples()[other] / "golden.jsonl", family.case)
    assert refused.value.code == "golden"

"""Opening an artifact: the checks that all families share."""

from __future__ import annotations

import shutil

import pytest
from examples import examples
from onnx_ml_bridge import ArtifactError, BridgeOptions, Embedder, Recognizer, Reranker, Summarizer
from onnx_ml_bridge.runtime import cpu
from onnx_ml_bridge.runtime.loading import open_artifact, runtime_of
from onnx_ml_bridge.runtime.verify import replay

HANDLES = (Embedder, Recognizer, Summarizer, Reranker)
every_example = pytest.mark.parametrize(
    ("family", "folder"), examples().items(), ids=[family.name for family in examples()]
)


@every_example
def test_an_artifact_of_another_task_is_refused(family, folder):
    assert open_artifact(folder).artifact.family is family
    for handle in HANDLES:
        if handle.task.manifest_name == family.task:
            assert handle.open(folder).info.task == handle.task
            continue
        with pytest.raises(ArtifactError, match="another task") as refused:
            handle.open(folder)
        assert refused.value.code == "variant"


@every_example
@pytest.mark.parametrize(("flags", "preferred"), [({"avx512_vnni"}, "int8"), ({"avx2"}, "fp32")])
def test_auto_selects_the_variant_by_the_instruction_set(family, folder, flags, preferred, monkeypatch):
    monkeypatch.setattr(cpu, "cpu_flags", lambda: frozenset(flags))
    opened = open_artifact(folder)
    expected = preferred if preferred in opened.artifact.manifest.variants else "fp32"
    assert opened.variant == expected
    model = runtime_of(family).open_model(opened, BridgeOptions(threads=1))
    model.warm_up()


@every_example
def test_an_unknown_variant_is_refused_with_the_available_ones(family, folder):
    expected = " or ".join(sorted(open_artifact(folder).artifact.manifest.variants))
    with pytest.raises(ArtifactError, match=f"int4.*{expected}") as refused:
        open_artifact(folder, "int4")
    assert refused.value.code == "variant"


@pytest.mark.parametrize("path", ["", "a\0b", "nowhere"])
def test_a_path_without_an_artifact_is_refused(path):
    with pytest.raises(ArtifactError) as refused:
        open_artifact(path)
    assert refused.value.code == "path_kind"


@every_example
def test_golden_cases_are_run_with_every_variant(family, folder):
    artifact = open_artifact(folder).artifact
    reports = []
    replayed = replay(artifact, lambda *report: reports.append(report))
    assert set(replayed) == set(artifact.manifest.variants)
    cases = artifact.manifest.golden.cases
    assert reports == [(name, done, cases) for name in sorted(replayed) for done in range(cases + 1)]
    for variant in replayed.values():
        assert variant.cases == artifact.manifest.golden.cases
        assert set(variant.figures) <= {metric.name for metric in family.metrics}


@every_example
def test_a_changed_preprocessor_file_is_refused_before_it_is_loaded(family, folder, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "copied")
    name = open_artifact(folder).artifact.manifest.preprocessor_files()[0]
    raw = (copied / name).read_bytes()
    (copied / name).write_bytes(bytes([raw[0] ^ 1]) + raw[1:])
    with pytest.raises(ArtifactError, match=name) as refused:
        open_artifact(copied)
    assert refused.value.code == "file_hash"

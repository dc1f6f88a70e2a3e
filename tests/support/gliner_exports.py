"""Run the stages of a build on small GLiNER models, as far as a test needs them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from onnx_ml_bridge import Recognizer
from onnx_ml_bridge.artifacts.constants import FORMAT_VERSION, GOLDEN, PARITY
from onnx_ml_bridge.artifacts.families.gliner import GLINER, GlinerCase, GlinerSpec
from onnx_ml_bridge.artifacts.golden import write_golden
from onnx_ml_bridge.artifacts.manifest import GoldenSpec, Machine, Manifest, ParitySpec, Source
from onnx_ml_bridge.artifacts.manifest_sections import TokenizerSpec
from onnx_ml_bridge.artifacts.seal import list_files, seal, staging_for
from onnx_ml_bridge.artifacts.staging import BuildSettings, Staged
from onnx_ml_bridge.cli.gliner import Options
from onnx_ml_bridge.export.gliner import export
from onnx_ml_bridge.quantize.gliner import quantize
from onnx_ml_bridge.runtime.gliner.preprocessor import GlinerPreprocessor
from onnx_ml_bridge.runtime.gliner.recognizer import GlinerModel, GlinerRecognizer
from small_gliners import LABELS, make_gliner


@dataclass(frozen=True)
class SmallGlinerExport:
    """A small model in `source`, and its export."""

    source: Path
    staged: Staged

    @property
    def spec(self) -> GlinerSpec:
        return self.staged.section(GlinerSpec)

    @property
    def preprocessor(self) -> GlinerPreprocessor:
        return GlinerPreprocessor.read(self.staged.folder, self.staged.section(TokenizerSpec), self.spec)

    def recognizer(self, variant: str = "fp32", **options: Any) -> Recognizer:
        """Return the handle of one variant; `options` are those of `GlinerRecognizer`."""
        graph = self.staged.variants[variant].graphs["entity_scorer"]
        model = GlinerModel(self.staged.folder, "small", "1", variant, graph, self.spec, self.preprocessor)
        return Recognizer(GlinerRecognizer(model, **options))

    def with_int8(self) -> SmallGlinerExport:
        """Return the export with an int8 variant."""
        settings = replace(self.staged.settings, variants=("fp32", "int8"))
        return replace(self, staged=quantize(replace(self.staged, settings=settings)))


def export_gliner(folder: Path, name: str, options: Options | None = None, **settings: Any) -> SmallGlinerExport:
    """Create and export a small model below `folder`.

    :param settings: further settings of gliner_config.json.
    """
    source, staging = make_gliner(folder / "model", name, **settings), folder / "staging"
    staging.mkdir()
    chosen = options or Options(labels=list(LABELS), threshold=0.9 if name.startswith(("span", "marker")) else 0.3)
    build = BuildSettings(
        GLINER, name, "1", ("fp32",), {"fp32": {"differing": 0.0}, "int8": {"entity_f1": 0.5}}, None, chosen
    )
    return SmallGlinerExport(source, export(source, build, staging))


def seal_gliner(small: SmallGlinerExport, target: Path) -> Path:
    """Seal the export, without a comparison with the original, as the artifact `target`."""
    cases = [GlinerCase("", tuple(LABELS), 0.5, False, False, small.spec.stride, (), 0, False)]
    staged = small.staged
    with staging_for(target) as staging:
        shutil.copytree(staged.folder, staging, dirs_exist_ok=True)
        write_golden(cases, staging / GOLDEN)
        (staging / PARITY).write_bytes(b"{}\n")
        manifest = Manifest(
            format_version=FORMAT_VERSION,
            task=GLINER.task,
            task_revision=GLINER.revision,
            engine=GLINER.engine,
            name=target.name,
            version="1",
            source=Source("path", "small", None, "0" * 64, None),
            builder={"onnx-ml-bridge": "0", "recipe": "small_gliners"},
            variants=dict(staged.variants),
            parity=ParitySpec(PARITY, len(cases), Machine("any", (), 1), {name: {} for name in staged.variants}),
            golden=GoldenSpec(GOLDEN, len(cases)),
            files=list_files(staging),
            sections=staged.sections,
        )
        seal(staging, manifest, target)
    return target

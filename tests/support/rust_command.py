"""What the Rust command answers to lines, for the tests that compare it with the originals and with Python."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def rust_ner(binary: Path, artifact: Path, lines: Sequence[dict[str, Any]], *options: str) -> list[dict[str, Any]]:
    """The answers of `ner`, one for every line; none may be refused."""
    done = subprocess.run(
        [str(binary), "ner", "--model", str(artifact), *options],
        input="".join(json.dumps(line) + "\n" for line in lines).encode(),
        capture_output=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]

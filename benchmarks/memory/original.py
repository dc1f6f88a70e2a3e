"""Prints the original's vector of a text: `python -m benchmarks.memory.original MODEL TEXT`, as a JSON array."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from sentence_transformers import SentenceTransformer

if __name__ == "__main__":
    model, text = sys.argv[1:]
    vector = SentenceTransformer(model, device="cpu").encode(Path(text).read_text(encoding="utf-8"))
    print(json.dumps(vector.tolist()))

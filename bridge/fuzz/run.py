"""Runs every target of `src/fuzzing.rs` with libFuzzer: `python run.py BINARY SECONDS [TARGET ...]`.

The only seed is the valid file. A panic that nothing catches ends a run. So do five calls with the same bytes of more
than a second each, a call of more than 30 seconds, and 1 GiB of memory.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

FUZZ = Path(__file__).parent
VALID = FUZZ.parents[1] / "tests" / "golden" / "valid"
PARSERS = re.compile(r'^    \("(\w+)", "([\w-]+)", "([\w./-]+)",', re.MULTILINE)


def main() -> int:
    """Run the targets one after another; return 1 if one of them failed."""
    binary, seconds, *chosen = sys.argv[1:]
    parsers = PARSERS.findall((FUZZ.parent / "src" / "fuzzing.rs").read_text(encoding="utf-8"))
    failed = []
    for name, artifact, file in parsers:
        if chosen and name not in chosen:
            continue
        corpus = FUZZ / "corpus" / name
        corpus.mkdir(parents=True, exist_ok=True)
        shutil.copy(VALID / artifact / file, corpus / "valid")
        options = [f"-max_total_time={seconds}", "-timeout=30", "-rss_limit_mb=1024", "-max_len=131072"]
        done = subprocess.run(
            [binary, str(corpus), *options, "-print_final_stats=1", f"-artifact_prefix={FUZZ / 'corpus' / name}-"],
            env={**os.environ, "ONNX_ML_BRIDGE_FUZZ": name, "ONNX_ML_BRIDGE_VALID": str(VALID)},
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        print(name, "failed" if done.returncode else "passed", *re.findall(r"^Done .*", done.stderr, re.MULTILINE))
        if done.returncode:
            print(done.stderr[-3000:])
            failed.append(name)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

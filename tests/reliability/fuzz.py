"""Coverage-guided fuzzing of one parser: `python fuzz.py TARGET [options of libFuzzer]`.

TARGET is a name of `mutations.targets.TARGETS`; `--list` prints them. `make fuzz` runs every one of them. An exception
that is no error of the package ends the run, and so does a call of more than a second of CPU time, of more than 30
seconds, or of 256 MiB more memory than at the start.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from pathlib import Path

import atheris

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / name) for name in ("golden", "support", "")]
_MEBIBYTE = 1 << 20


def _main() -> None:
    name, *options = sys.argv[1:]
    with atheris.instrument_imports(include=["onnx_ml_bridge"]):
        from mutations.readers import MEMORY, SECONDS
        from mutations.targets import TARGETS
        from onnx_ml_bridge.artifacts.errors import OnnxMlBridgeError
    if name == "--list":
        print(*TARGETS, sep="\n")
        return
    target = TARGETS[name]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        seeds, path = Path(folder) / "seeds", Path(folder) / "file"
        seeds.mkdir()
        (seeds / "valid").write_bytes(target.valid)
        path.write_bytes(target.valid)
        target.read(path)

        def run(raw: bytes) -> None:
            path.write_bytes(raw)
            started = time.process_time()  # which other processes of the machine do not change
            with contextlib.suppress(OnnxMlBridgeError):
                target.read(path)
            seconds = time.process_time() - started
            assert seconds <= SECONDS, f"the call took {seconds:.1f} s of CPU time"

        used = int(Path("/proc/self/statm").read_text().split()[1]) * 4096
        memory, length = (used + MEMORY) // _MEBIBYTE, max(65_536, 2 * len(target.valid))
        limits = ["-timeout=30", f"-rss_limit_mb={memory}", f"-max_len={length}"]
        atheris.Setup([sys.argv[0], *limits, *options, str(seeds)], run)
        atheris.Fuzz()


if __name__ == "__main__":
    _main()

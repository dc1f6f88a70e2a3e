"""Answers which verdict Python's reader has on a file or an artifact; the crate's example `verdicts` does the same.

Every line of the standard input is a word and a path. The word is `verify`, `replay` or `bridge`, or the name of one of
`TARGETS`. The answer is one line: the code of the error or `valid`. `crash:NAME` is an exception without a code, and
`outside:PATH` a file outside of the named folder that was opened.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2] / name) for name in ("golden", "support", "")]

import onnx_ml_bridge as api  # noqa: E402
from onnx_ml_bridge import artifacts, cli, runtime  # noqa: E402
from onnx_ml_bridge.artifacts.errors import OnnxMlBridgeError  # noqa: E402

from mutations.targets import TARGETS, WHOLE  # noqa: E402

_PACKAGES = [folder for module in (api, artifacts, runtime, cli) for folder in module.__path__]
_SYSTEM = ("/proc", "/sys", "/etc/os-release")
# Python's own modules, which are imported when they are first used, and what the system says of the computer
_OWN = (*(str(Path(path).resolve()) for path in [*sys.path, sys.prefix, sys.base_prefix, *_PACKAGES]), *_SYSTEM)
_opened: list[str] = []


def _record(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        _opened.append(os.fsdecode(arguments[0]))


def verdict(word: str, path: Path) -> str:
    """Return the verdict of one reader."""
    read = WHOLE[word] if word in WHOLE else TARGETS[word].read
    _opened.clear()
    try:
        read(path)
        code = "valid"
    except OnnxMlBridgeError as error:
        code = error.code
    except BaseException as error:
        code = f"crash:{type(error).__name__}:{str(error)[:200]!r}".replace(" ", "_")
    # A bridge.toml names artifacts anywhere
    outside = [name for name in _opened if word != "bridge" and not _is_allowed(word, name, path)]
    return f"outside:{outside[0]}".replace(" ", "_") if outside else code


def _is_allowed(word: str, name: str, path: Path) -> bool:
    # `rmtree` opens the folders in a folder by their names alone, and follows no links
    if word == "archive" and "/" not in name:
        return name != ".."
    # Not `resolve`: the way to the file counts, also through links
    absolute = os.path.abspath(name)  # noqa: PTH100
    return Path(absolute).is_relative_to(path.parent if path.is_file() else path) or absolute.startswith(_OWN)


def main() -> None:
    """Answer until the input ends."""
    sys.addaudithook(_record)
    for line in sys.stdin:
        word, _, path = line.rstrip("\n").partition(" ")
        print(verdict(word, Path(path)), flush=True)


if __name__ == "__main__":
    main()

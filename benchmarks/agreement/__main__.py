"""Compare the answers of this project, in Python and in Rust, with those of the originals on thousands of texts.

The exit status is 1 if anything differs.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path

from onnx_ml_bridge.artifacts.errors import OnnxMlBridgeError

from ..contenders import Unavailable
from ..corpora.documents import TooFewTexts
from ..environment import Failed

# The modules of this folder, one per task
_TASKS = sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
_COMMANDS = {name: importlib.import_module(f"{__package__}.{name}") for name in _TASKS if not name.startswith("_")}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        identical: bool = _COMMANDS[options.task].run(options)
    except (OnnxMlBridgeError, TooFewTexts, Failed, Unavailable) as error:
        detail = f"\n{error.detail}" if isinstance(error, Failed) else ""
        raise SystemExit(f"error: {error}{detail}") from error
    return 0 if identical else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.agreement",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    tasks = parser.add_subparsers(dest="task", required=True, metavar="TASK")
    for name, module in _COMMANDS.items():
        summary = (module.__doc__ or "").splitlines()[0]
        task = tasks.add_parser(name, help=summary.rstrip("."), description=module.__doc__)
        module.add_options(task)
    return parser


if __name__ == "__main__":
    sys.exit(main())

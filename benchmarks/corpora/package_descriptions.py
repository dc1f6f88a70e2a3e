"""The long and short descriptions of Debian packages, which people wrote: texts with reference summaries.

They are in Debian's list of English descriptions, which `apt-get -o Acquire::Languages=en update` downloads.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ..contenders import Unavailable

# The recipe of the small trained BART reads the list
RECIPE = Path(__file__).parent.parent.parent / "tests/models/bart-package-descriptions"
# No model was trained on the first pairs
HELD_OUT = 1000


def description_pairs() -> list[tuple[str, str]]:
    """Return pairs of long and short descriptions, in a fixed random order.

    :raises Unavailable: if the machine has no list of descriptions.
    """
    sys.path.insert(0, str(RECIPE))
    try:
        from recipe import load_pairs  # type: ignore[import-not-found]

        return list(load_pairs())
    except ValueError as error:
        raise Unavailable("no list of descriptions; run: apt-get -o Acquire::Languages=en update") from error
    finally:
        sys.path.pop(0)

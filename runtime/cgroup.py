"""The cgroups of this process, version 1 and 2. Only Linux has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def cgroups(controller: str, root: Path = ROOT, own: Path = OWN) -> Iterator[tuple[int, Path]]:
    """Yield the version and the folder of every cgroup whose limits apply to this process, the innermost first.

    The limits of all cgroups above one apply too. In a container, the folder of the own cgroup is often mounted as
    `root`; then its path does not exist below it.

    :param controller: such as `memory`; only version 1 has other cgroups for each controller.
    :param root: the folder at which the cgroups are mounted.
    :param own: the file that lists the cgroups of the process.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        version, mount = (1, root / controller) if controllers else (2, root)
        parts = Path(path.strip("/")).parts
        for depth in range(len(parts), -1, -1):
            yield version, mount.joinpath(*parts[:depth])

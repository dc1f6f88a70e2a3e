"""Give Cargo.lock the versions of bridge/pins.txt, which the tests run with.

Cargo.lock itself is not in the repository, because it names the registry that it was written with. `--write` does the
reverse: it writes the versions of Cargo.lock to pins.txt.
"""

import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

CRATE = Path(__file__).parents[1] / "bridge"
PINS = CRATE / "pins.txt"
LOCK = CRATE / "Cargo.lock"
HEADER = "# The versions that the tests run with. `make pins` writes this file.\n"

Pin = tuple[str, str]


def read_pins(text: str) -> set[Pin]:
    """Return the names and versions of pins.txt, which has one package per line."""
    lines = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return {(name, version) for name, version in lines}


def locked() -> set[Pin]:
    """Return the names and versions of the packages of a registry in Cargo.lock."""
    packages = tomllib.loads(LOCK.read_text())["package"]
    return {(package["name"], package["version"]) for package in packages if "source" in package}


def compatible(version: str) -> tuple[str, ...]:
    """Return the part of a version that is equal for compatible versions."""
    parts = version.split(".")
    return tuple(parts[:1] if parts[0] != "0" else parts[:2])


def cargo(*arguments: str) -> bool:
    """Run cargo in the folder of the crate and return whether it succeeded."""
    return subprocess.run(["cargo", *arguments], cwd=CRATE, capture_output=True, check=False).returncode == 0


def replacements(pins: set[Pin], actual: set[Pin]) -> Iterable[tuple[str, str]]:
    """Return the locked packages to change, as `NAME@VERSION`, and their pinned versions."""
    for name, version in sorted(pins - actual):
        others = [old for other, old in sorted(actual - pins) if other == name]
        same = [old for old in others if compatible(old) == compatible(version)] or others[:1]
        yield from ((f"{name}@{old}", version) for old in same)


def apply(pins: set[Pin]) -> None:
    """Change Cargo.lock until it has the pinned versions, as long as that makes progress.

    The pinned version of one package can require that another package is changed first. Hence the rounds.
    """
    if not LOCK.exists():
        subprocess.run(["cargo", "generate-lockfile", "--quiet"], cwd=CRATE, check=True)
    elif pins != locked():
        cargo("update", "--workspace")  # adds the packages of requirements that are new in Cargo.toml
    while pins != locked():
        changed = [cargo("update", spec, "--precise", version) for spec, version in replacements(pins, locked())]
        if not any(changed):
            return


def main() -> None:
    """Apply or write the pins."""
    if "--write" in sys.argv[1:]:
        PINS.write_text(HEADER + "".join(f"{name} {version}\n" for name, version in sorted(locked())))
        return
    pins = read_pins(PINS.read_text())
    apply(pins)
    differences = dict.fromkeys(pins - locked(), "-") | dict.fromkeys(locked() - pins, "+")
    if differences:
        lines = [f"{sign} {name} {version}" for (name, version), sign in sorted(differences.items())]
        sys.exit("bridge/Cargo.lock differs from bridge/pins.txt (`make pins` writes it):\n" + "\n".join(lines))


if __name__ == "__main__":
    main()

"""Run tests/consumer, a crate that depends on onnx-ml-bridge, with old and new versions of dependencies of both.

`ORT_DYLIB_PATH` has the path of ONNX Runtime's library. All runs have to print the same embedding. The folder
`consumer` of cargo's target folder has a copy of the crate with other requirements for each run.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "tests" / "consumer"
VALID = ROOT / "tests" / "golden" / "valid"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "bridge" / "target")) / "consumer"
# The dependencies of which an application has its own version
SHARED = ("serde", "serde_json", "tokio")
# The runs with the newest versions, and the features of each
FEATURES = {"newest": [], "arbitrary-precision": ["arbitrary-precision"], "fastembed": ["fastembed"]}


def minimum(name: str) -> str:
    """Return the lowest version of a dependency that Cargo.toml of onnx-ml-bridge accepts."""
    requirement = tomllib.loads((ROOT / "bridge" / "Cargo.toml").read_text())["dependencies"][name]
    version = requirement if isinstance(requirement, str) else requirement["version"]
    return ".".join([*version.split("."), "0", "0"][:3])


def copy(name: str, requirements: dict[str, str]) -> Path:
    """Copy the crate and replace the requirements for some dependencies. Return the folder of the copy."""
    folder = TARGET / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("Cargo.lock", "target"))
    text = (folder / "Cargo.toml").read_text().replace("../../bridge", str(ROOT / "bridge"))
    for dependency, requirement in requirements.items():
        pattern = rf'(?m)^({dependency} = (?:\{{ version = )?)"[^"]*"'
        text, count = re.subn(pattern, rf'\g<1>"{requirement}"', text)
        assert count == 1, dependency
    (folder / "Cargo.toml").write_text(text)
    return folder


def run(folder: Path, features: list[str]) -> list[float]:
    """Compile and run a copy of the crate. Return the embedding that it prints.

    It also replays the golden cases of every family, so that all JSON files are read with these versions.
    """
    environment = os.environ | {"CARGO_TARGET_DIR": str(TARGET / "target")}
    command = ["cargo", "run", "--quiet", "--features", ",".join(features), "--"]
    command += [VALID / "tiny-embedding", *sorted(VALID.iterdir())]
    done = subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE)
    packages = tomllib.loads((folder / "Cargo.lock").read_text())["package"]
    versions = [f"{package['name']} {package['version']}" for package in packages if package["name"] in SHARED]
    versions += [f"{package['name']} {package['version']}" for package in packages if package["name"] in features]
    print(f"{folder.name}: {', '.join(versions)}", flush=True)
    return json.loads(done.stdout)


def main() -> None:
    """Run the crate with the newest versions, with features of other crates, and with the lowest versions."""
    vectors = {name: run(copy(name, {}), features) for name, features in FEATURES.items()}
    vectors["lowest"] = run(copy("lowest", {name: f"={minimum(name)}" for name in SHARED}), [])
    expected = vectors["newest"]
    if different := [name for name, vector in vectors.items() if vector != expected]:
        sys.exit(f"other embeddings than with the newest versions: {', '.join(different)}")


if __name__ == "__main__":
    main()

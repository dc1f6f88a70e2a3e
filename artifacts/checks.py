"""The checks every reader makes before anything is loaded, in the order FORMAT.md gives; the first failure decides."""

from __future__ import annotations

import hashlib
import itertools
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .constants import MANIFEST, MANIFEST_HASH, MAX_DEPTH, MAX_FILES, MAX_MANIFEST_BYTES
from .errors import ArtifactError
from .families import FAMILIES
from .family import Family, require_family
from .manifest import Graph, Manifest, Tensor, Variant, parse_manifest
from .onnx_file import OnnxFile, TensorInfo, read_onnx
from .roles import role_problems

_REBUILD = "The artifact was changed or copied incompletely: fetch or build it again."


@dataclass(frozen=True)
class Artifact:
    """A folder whose file set and sizes match its manifest. `identity` is the SHA-256 of manifest.json."""

    root: Path
    manifest: Manifest
    identity: str
    family: Family

    def path(self, name: str) -> Path:
        """Absolute path of a listed file."""
        return self.root / name

    def variant(self, name: str) -> Variant:
        """The variant of that name, or `ArtifactError` with the code `variant`."""
        if name not in self.manifest.variants:
            raise ArtifactError(
                "variant",
                f"{self.manifest.name} has no variant {name!r}",
                expected=" or ".join(sorted(self.manifest.variants)),
            )
        return self.manifest.variants[name]


def read_artifact(root: str | Path, families: Iterable[Family] = FAMILIES) -> Artifact:
    """Check kinds, manifest, file set and sizes; no file but the manifest is read.

    :param families: the families that are known here.
    :raises ArtifactError: with the code of the first check that fails, `path_kind` to `size`.
    """
    root, families = Path(root), tuple(families)
    present = _walk(root)
    raw = _manifest_bytes(root, present)
    identity = hashlib.sha256(raw).hexdigest()
    if (root / MANIFEST_HASH).read_bytes() != hash_line(identity):
        raise ArtifactError("manifest_hash", f"{MANIFEST_HASH} is not the hash of {MANIFEST}", hint=_REBUILD)
    manifest = parse_manifest(raw, families)
    _check_file_set(manifest, present)
    for name, entry in manifest.files.items():
        if present[name] != entry.size:
            raise ArtifactError("size", name, expected=f"{entry.size} bytes", got=present[name], hint=_REBUILD)
    return Artifact(root, manifest, identity, require_family(manifest.task, manifest.engine, families))


def check_hashes(artifact: Artifact, names: Iterable[str]) -> None:
    """Compare the SHA-256 of each named file with the manifest's, or raise `file_hash`."""
    for name in sorted(names):
        if (got := sha256_file(artifact.path(name))) != artifact.manifest.files[name].sha256:
            expected = artifact.manifest.files[name].sha256
            raise ArtifactError("file_hash", name, expected=f"SHA-256 {expected}", got=got, hint=_REBUILD)


def check_graph(artifact: Artifact, role: str, graph: Graph, found: OnnxFile) -> None:
    """Compare a graph with its declaration and with what its role asks for, or raise `graph`."""
    problems = [
        f"data in the unlisted file {name!r}"
        for name in _data_files(graph, found)
        if name not in artifact.manifest.files
    ]
    for what, declared, real in (
        ("ir_version", graph.ir_version, found.ir_version),
        ("domains", graph.domains, found.domains),
        ("inputs", _signature(graph.inputs), sorted(found.inputs)),
        ("outputs", _signature(graph.outputs), sorted(found.outputs)),
    ):
        if declared != real:
            problems.append(f"{what} is {real}, declared is {declared}")
    if undeclared := sorted(found.used_domains - set(found.domains)):
        problems.append(f"nodes of the domains {undeclared}, which it does not import")
    problems += role_problems(artifact.family.roles[role], graph)
    if problems:
        raise ArtifactError("graph", f"{graph.file} is not what it should be: {'; '.join(problems)}")


def check_variant(artifact: Artifact, name: str) -> None:
    """Make the checks of `open` that speak of one variant: hashes of its graphs and their data, then the graphs."""
    graphs = artifact.variant(name).graphs
    check_hashes(artifact, [graph.file for graph in graphs.values()])
    found = {role: read_onnx(artifact.path(graph.file)) for role, graph in graphs.items()}
    data = {file for role, graph in graphs.items() for file in _data_files(graph, found[role])}
    check_hashes(artifact, data & set(artifact.manifest.files))
    for role, graph in graphs.items():
        check_graph(artifact, role, graph, found[role])


def check_all(artifact: Artifact) -> None:
    """Hash every file and check every graph, as `verify` does before it replays the golden cases."""
    check_hashes(artifact, artifact.manifest.files)
    for variant in artifact.manifest.variants.values():
        for role, graph in variant.graphs.items():
            check_graph(artifact, role, graph, read_onnx(artifact.path(graph.file)))


def hash_line(identity: str) -> bytes:
    """The bytes of manifest.sha256 for a manifest of that SHA-256."""
    return f"{identity}  {MANIFEST}\n".encode()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _signature(tensors: Iterable[Tensor]) -> list[TensorInfo]:
    return sorted(TensorInfo(tensor.name, tensor.dtype, len(tensor.dims)) for tensor in tensors)


def _data_files(graph: Graph, found: OnnxFile) -> list[str]:
    """Paths in the artifact of the files that a graph keeps tensor data in."""
    folder = graph.file.rpartition("/")[0]
    return [f"{folder}/{location}" if folder else location for location in found.external]


def _manifest_bytes(root: Path, present: dict[str, int]) -> bytes:
    for name in (MANIFEST, MANIFEST_HASH):
        if name not in present:
            raise ArtifactError("path_kind", f"{root} has no {name}", hint="Is this the folder of an artifact?")
        if present[name] > MAX_MANIFEST_BYTES:
            raise ArtifactError(
                "path_kind", f"{name} is too large", expected=f"at most {MAX_MANIFEST_BYTES} bytes", got=present[name]
            )
    return (root / MANIFEST).read_bytes()


def _walk(root: Path) -> dict[str, int]:
    """Relative path and size in bytes of every file, or raise `path_kind` or, for an empty folder, `file_set`."""
    try:
        if not stat.S_ISDIR(root.lstat().st_mode):
            raise ArtifactError("path_kind", f"{root} is no directory", hint="Pass the folder that has manifest.json.")
        present = dict(itertools.islice(_files(root, "", 1), MAX_FILES + 1))
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
        raise ArtifactError("path_kind", f"{str(root)!r} cannot be read: {error}") from error
    if len(present) > MAX_FILES:
        raise ArtifactError("path_kind", f"{root} holds too many files", expected=f"at most {MAX_FILES}")
    return present


def _files(folder: Path, prefix: str, depth: int) -> Iterator[tuple[str, int]]:
    if depth > MAX_DEPTH:
        raise ArtifactError("path_kind", f"{folder} is nested too deeply", expected=f"at most {MAX_DEPTH} levels")
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda item: item.name)
        if not entries and prefix:
            yield prefix, 0  # no manifest can list an empty directory, so the file set shows it
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                yield from _files(folder / entry.name, f"{prefix}{entry.name}/", depth + 1)
            elif stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
                yield prefix + entry.name, status.st_size
            else:
                raise ArtifactError(
                    "path_kind",
                    f"{prefix}{entry.name} is a link or a special file",
                    expected="regular files with one link",
                    hint="Copy the folder without links (cp -rL).",
                )


def _check_file_set(manifest: Manifest, present: dict[str, int]) -> None:
    listed = set(manifest.files) | {MANIFEST, MANIFEST_HASH}
    missing, extra = sorted(listed - set(present)), sorted(set(present) - listed)
    if missing or extra:
        raise ArtifactError(
            "file_set", f"files missing: {missing or 'none'}; files not listed: {extra or 'none'}", hint=_REBUILD
        )

"""The checks of an artifact in the order of FORMAT.md; they run before any graph is loaded."""

from __future__ import annotations

import hashlib
import itertools
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .constants import MANIFEST, MANIFEST_HASH, MAX_DEPTH, MAX_FILES, MAX_MANIFEST_BYTES
from .errors import ArtifactError
from .families import FAMILIES
from .family import Family, require_family
from .manifest import Graph, Manifest, Tensor, Variant, parse_manifest
from .onnx_file import OnnxFile, TensorInfo, read_onnx
from .reading import reading_errors
from .roles import role_problems

_REBUILD = "The artifact was modified or copied incompletely: download or build it again."
_RELOAD = "The file was replaced after the artifact was opened: reload the model, or restore the file."


@dataclass(frozen=True)
class FileRecord:
    """What the system says of a file; a file that was modified or replaced has another record."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileRecord:
        """Return the record of a file with this status."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@dataclass(frozen=True)
class Artifact:
    """An artifact folder whose file set and file sizes match its manifest; `identity` is the manifest's SHA-256.

    `records` has the records of the files whose hashes were checked, by name.
    """

    root: Path
    manifest: Manifest
    identity: str
    family: Family
    records: dict[str, FileRecord] = field(default_factory=dict, compare=False, repr=False)

    def path(self, name: str) -> Path:
        """Return the path of a file that the manifest lists."""
        return self.root / name

    def variant(self, name: str) -> Variant:
        """Return a variant by name.

        :raises ArtifactError: with the code `variant` if the artifact has no such variant.
        """
        if name not in self.manifest.variants:
            raise ArtifactError(
                "variant",
                f"{self.manifest.name} has no variant {name!r}",
                expected=" or ".join(sorted(self.manifest.variants)),
            )
        return self.manifest.variants[name]


@reading_errors()
def read_artifact(root: str | os.PathLike[str], families: Iterable[Family] = FAMILIES) -> Artifact:
    """Read an artifact's manifest and check file types, manifest, file set and file sizes.

    The contents of all other files stay unread: see `check_variant` and `check_all`.

    :param families: the families that this reader supports.
    :raises ArtifactError: with the code of the first check that fails, `path_kind` to `size`; `io` if a file cannot be
        read.
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
            raise ArtifactError(
                "size", name, expected=f"{entry.size} bytes", actual=f"{present[name]} bytes", hint=_REBUILD
            )
    return Artifact(root, manifest, identity, require_family(manifest.task, manifest.engine, families))


@reading_errors()
def check_hashes(artifact: Artifact, names: Iterable[str], hint: str = _REBUILD) -> None:
    """Check the SHA-256 of the named files and record the files.

    :param hint: what to do if a hash differs.
    :raises ArtifactError: with the code `file_hash` for the first file whose hash is not the one in the manifest; `io`
        if a file cannot be read.
    """
    for name in sorted(names):
        with artifact.path(name).open("rb") as file:
            record = FileRecord.of(os.fstat(file.fileno()))
            actual = hashlib.file_digest(file, "sha256").hexdigest()
        expected = artifact.manifest.files[name].sha256
        if actual != expected:
            raise ArtifactError("file_hash", name, expected=f"SHA-256 {expected}", actual=actual, hint=hint)
        artifact.records[name] = record


@reading_errors()
def check_changed_files(artifact: Artifact) -> None:
    """Check the hashes of the files again that changed since they were checked.

    :raises ArtifactError: with the code `file_hash` if the content of a file changed; `io` if a file cannot be read.
    """
    changed = [
        name for name, record in artifact.records.items() if FileRecord.of(artifact.path(name).lstat()) != record
    ]
    check_hashes(artifact, changed, _RELOAD)


def check_graph(artifact: Artifact, role: str, graph: Graph, onnx_file: OnnxFile) -> None:
    """Compare an ONNX file with its entry in the manifest and with the interface of its role.

    :raises ArtifactError: with the code `graph`, naming all differences.
    """
    problems = [
        f"tensor data in {name!r}, which the manifest does not list"
        for name in _data_files(graph, onnx_file)
        if name not in artifact.manifest.files
    ]
    for name, expected, actual in (
        ("ir_version", graph.ir_version, onnx_file.ir_version),
        ("domains", graph.domains, onnx_file.domains),
        ("inputs", _signature(graph.inputs), sorted(onnx_file.inputs)),
        ("outputs", _signature(graph.outputs), sorted(onnx_file.outputs)),
    ):
        if expected != actual:
            problems.append(f"{name} in the file: {actual}, in the manifest: {expected}")
    if undeclared := sorted(onnx_file.used_domains - set(onnx_file.domains)):
        problems.append(f"nodes use the operator domains {undeclared}, which the model does not import")
    problems += role_problems(artifact.family.roles[role], graph)
    if problems:
        raise ArtifactError("graph", f"{graph.file} does not match the manifest or its role: {'; '.join(problems)}")


def check_variant(artifact: Artifact, name: str) -> None:
    """Check one variant as `open` does: the hashes of its graphs and their data files, then the graphs.

    :raises ArtifactError: with the code `variant`, `file_hash` or `graph`; `io` if a file cannot be read.
    """
    graphs = artifact.variant(name).graphs
    check_hashes(artifact, [graph.file for graph in graphs.values()])
    onnx_files = {role: read_onnx(artifact.path(graph.file)) for role, graph in graphs.items()}
    data = {file for role, graph in graphs.items() for file in _data_files(graph, onnx_files[role])}
    check_hashes(artifact, data & set(artifact.manifest.files))
    for role, graph in graphs.items():
        check_graph(artifact, role, graph, onnx_files[role])


def check_all(artifact: Artifact) -> None:
    """Check the hash of every file, then every graph of every variant; `verify` calls this first.

    :raises ArtifactError: with the code `file_hash` or `graph`; `io` if a file cannot be read.
    """
    check_hashes(artifact, artifact.manifest.files)
    check_graphs(artifact)


def check_graphs(artifact: Artifact) -> None:
    """Check every graph of every variant, whose hashes were checked before.

    :raises ArtifactError: with the code `graph`; `io` if a file cannot be read.
    """
    for variant in artifact.manifest.variants.values():
        for role, graph in variant.graphs.items():
            check_graph(artifact, role, graph, read_onnx(artifact.path(graph.file)))


def hash_line(identity: str) -> bytes:
    """Return the content of manifest.sha256 for a manifest with this SHA-256 in hexadecimal."""
    return f"{identity}  {MANIFEST}\n".encode()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _signature(tensors: Iterable[Tensor]) -> list[TensorInfo]:
    return sorted(TensorInfo(tensor.name, tensor.dtype, len(tensor.dims)) for tensor in tensors)


def _data_files(graph: Graph, onnx_file: OnnxFile) -> list[str]:
    """Return the paths, relative to the artifact, of the files with a graph's external tensor data."""
    folder = graph.file.rpartition("/")[0]
    return [f"{folder}/{location}" if folder else location for location in onnx_file.external]


def _manifest_bytes(root: Path, present: dict[str, int]) -> bytes:
    for name in (MANIFEST, MANIFEST_HASH):
        if name not in present:
            raise ArtifactError("path_kind", f"{root} has no {name}", hint="Pass the folder of an artifact.")
        if present[name] > MAX_MANIFEST_BYTES:
            raise ArtifactError(
                "path_kind",
                f"{name} is too large",
                expected=f"at most {MAX_MANIFEST_BYTES} bytes",
                actual=present[name],
            )
    return (root / MANIFEST).read_bytes()


def _walk(root: Path) -> dict[str, int]:
    """Return the size in bytes of every file in a folder and its subfolders, by relative path.

    An empty directory is an entry of size 0, so that the check of the file set reports it.

    :raises ArtifactError: with the code `path_kind`.
    """
    try:
        is_directory = stat.S_ISDIR(root.lstat().st_mode)
    except (OSError, ValueError) as error:  # ValueError: the path contains a NUL character
        raise ArtifactError("path_kind", f"{str(root)!r} cannot be read: {error}") from error
    if not is_directory:
        raise ArtifactError(
            "path_kind",
            f"{root} is not a directory, or is a link to one",
            hint="Pass the folder that contains manifest.json.",
        )
    present = dict(itertools.islice(_files(root, "", 1), MAX_FILES + 1))
    if len(present) > MAX_FILES:
        raise ArtifactError("path_kind", f"{root} contains too many files", expected=f"at most {MAX_FILES}")
    return present


def _files(folder: Path, prefix: str, depth: int) -> Iterator[tuple[str, int]]:
    if depth > MAX_DEPTH:
        raise ArtifactError("path_kind", f"{folder} is nested too deeply", expected=f"at most {MAX_DEPTH} levels")
    with os.scandir(folder) as unsorted:
        entries = sorted(unsorted, key=lambda item: item.name)
        if not entries and prefix:
            yield prefix, 0  # a manifest lists only files, so _check_file_set refuses an empty folder
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                yield from _files(folder / entry.name, f"{prefix}{entry.name}/", depth + 1)
            elif stat.S_ISREG(status.st_mode):
                yield prefix + entry.name, status.st_size
            else:
                raise ArtifactError(
                    "path_kind",
                    f"{prefix}{entry.name} is a symbolic link or not a regular file",
                    expected="regular files and directories",
                    hint="Copy the folder without symbolic links (cp -rL).",
                )


def _check_file_set(manifest: Manifest, present: dict[str, int]) -> None:
    listed = set(manifest.files) | {MANIFEST, MANIFEST_HASH}
    missing, extra = sorted(listed - set(present)), sorted(set(present) - listed)
    if missing or extra:
        raise ArtifactError(
            "file_set",
            f"missing files: {missing or 'none'}; files that the manifest does not list: {extra or 'none'}",
            hint=_REBUILD,
        )

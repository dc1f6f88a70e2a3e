"""What may be on disk after a power loss: a recorded run of a program, without some of what was not written to disk.

The model is that of a POSIX file system: the content of a file is durable once it was synced, and so is a name once its
folder was synced. Everything else may or may not have reached the disk, in any combination.
"""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from traced import CHANGING

_LINE = re.compile(r"^\d+ +(\w+)\((.*)\) += (-?\d+)")
_BYTE = re.compile(r"\\x([0-9a-f]{2})")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_OPEN_FILE = re.compile(r"<((?:\\x[0-9a-f]{2})+)>")


@dataclass(frozen=True)
class Event:
    """A call that changed something, or wrote it to disk; `other` is the second path of a link or rename."""

    call: str
    path: str
    other: str = ""
    data: bytes = b""


@dataclass(eq=False)
class Node:
    """A file or folder: what a reader sees, and what is on disk."""

    is_folder: bool
    data: bytes = b""
    durable_data: bytes = b""
    names: dict[str, Node] = field(default_factory=dict)
    durable_names: dict[str, Node] = field(default_factory=dict)


@dataclass(eq=False)
class Change:
    """A change of a folder that may not be on disk: each name gets a file or folder, or loses it (None)."""

    folders: tuple[Node, ...]
    names: tuple[tuple[Node, str, Node | None], ...]
    is_durable: bool = False


def recorded_changes(command: Sequence[str], root: Path, log: Path) -> list[Event]:
    """Run a program and return the changes below `root`, in their order.

    :raises AssertionError: if the program fails, or uses a call that the model does not have.
    """
    line = ["strace", "-f", "-y", "-xx", "-qq", "-s", "100000000", "-o", str(log), "-e", f"trace={','.join(CHANGING)}"]
    done = subprocess.run([*line, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    events = [event for line in log.read_text().splitlines() if (event := _event(line)) is not None]
    return [event for event in events if f"{event.path}/".startswith(f"{root}/")]


def _event(line: str) -> Event | None:
    found = _LINE.match(line)
    if found is None or int(found[3]) < 0:
        return None
    call, arguments, result = found[1], found[2], int(found[3])
    strings = [bytes(int(byte, 16) for byte in _BYTE.findall(text)) for text in _STRING.findall(arguments)]
    files = [bytes(int(byte, 16) for byte in _BYTE.findall(text)).decode() for text in _OPEN_FILE.findall(arguments)]
    paths = [text.decode(errors="replace") for text in strings]
    if call == "openat":
        created = "O_CREAT" in arguments or "O_TRUNC" in arguments
        return Event("open", _joined(files, paths[0])) if created else None
    if call == "write":
        return Event("write", files[0], data=strings[0][:result])
    if call in ("fsync", "fdatasync"):
        return Event("fsync", files[0])
    if call in ("mkdir", "rmdir", "unlink"):
        return Event("mkdir" if call == "mkdir" else "unlink", paths[0])
    if call == "unlinkat":
        return Event("unlink", _joined(files, paths[0]))
    if call in ("link", "rename"):
        return Event(call, paths[0], paths[1])
    if call in ("linkat", "renameat", "renameat2") and all(path.startswith("/") for path in paths):
        return Event(call.partition("at")[0], paths[0], paths[1])
    assert call == "utimensat", f"the model has no {line[:200]}"
    return None


def _joined(files: Sequence[str], path: str) -> str:
    return path if path.startswith("/") or not files else f"{files[0]}/{path}"


class Disk:
    """A folder before a program runs, to which the recorded changes are applied."""

    def __init__(self, root: Path, before: Path) -> None:
        self._root = root
        self._top = _loaded(before)
        self._changes: list[Change] = []

    def apply(self, events: Sequence[Event]) -> None:
        for event in events:
            getattr(self, f"_{event.call}")(event)

    def write_crash(self, folder: Path, source: random.Random) -> None:
        """Write what may be on disk now to a new folder."""
        chance = source.choice([0.0, 0.0, 0.5, 0.5, 0.8, 1.0])
        names: dict[Node, dict[str, Node]] = {}
        for change in self._changes:
            if change.is_durable or source.random() < chance:
                for parent, name, node in change.names:
                    state = names.setdefault(parent, dict(parent.durable_names))
                    if node is None:
                        state.pop(name, None)
                    else:
                        state[name] = node
        _write(self._top, folder, names, source)

    def _find(self, path: str) -> Node:
        node = self._top
        for part in Path(path).relative_to(self._root).parts:
            node = node.names[part]
        return node

    def _parent(self, path: str) -> tuple[Node, str]:
        return self._find(str(Path(path).parent)), Path(path).name

    def _add(self, *names: tuple[Node, str, Node | None]) -> None:
        for parent, name, node in names:
            if node is None:
                parent.names.pop(name, None)
            else:
                parent.names[name] = node
        self._changes.append(Change(tuple({parent: None for parent, _, _ in names}), names))

    def _open(self, event: Event) -> None:
        parent, name = self._parent(event.path)
        if name in parent.names:
            parent.names[name].data = b""
        else:
            self._add((parent, name, Node(is_folder=False)))

    def _mkdir(self, event: Event) -> None:
        self._add((*self._parent(event.path), Node(is_folder=True)))

    def _write(self, event: Event) -> None:
        self._find(event.path).data += event.data

    def _link(self, event: Event) -> None:
        self._add((*self._parent(event.other), self._find(event.path)))

    def _rename(self, event: Event) -> None:
        node = self._find(event.path)
        # The new name first: the target's folder decides whether the rename is durable
        self._add((*self._parent(event.other), node), (*self._parent(event.path), None))

    def _unlink(self, event: Event) -> None:
        self._add((*self._parent(event.path), None))

    def _fsync(self, event: Event) -> None:
        node = self._find(event.path)
        node.durable_data = node.data
        for change in self._changes:
            if change.folders[0] is node:
                change.is_durable = True


def _loaded(folder: Path) -> Node:
    node = Node(is_folder=True)
    for path in folder.iterdir():
        data = b"" if path.is_dir() else path.read_bytes()
        node.names[path.name] = _loaded(path) if path.is_dir() else Node(False, data, data)
    node.durable_names = dict(node.names)
    return node


def _write(node: Node, folder: Path, names: dict[Node, dict[str, Node]], source: random.Random) -> None:
    folder.mkdir()
    for name, each in names.get(node, node.durable_names).items():
        if each.is_folder:
            _write(each, folder / name, names, source)
        else:
            (folder / name).write_bytes(_surviving(each, source))


def _surviving(node: Node, source: random.Random) -> bytes:
    """Return what may be left of a file: all of it if it was synced, else anything between nothing and all."""
    if node.data == node.durable_data:
        return node.data
    half = node.data[: len(node.data) // 2]
    return source.choice([node.durable_data, node.data, b"", bytes(len(node.data)), half])

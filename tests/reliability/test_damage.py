"""The checks of an artifact detect damage of any kind before a graph is loaded."""

import os
import random
import shutil
from pathlib import Path

import pytest
from onnx_ml_bridge import ArtifactError, OnnxMlBridge
from onnx_ml_bridge.artifacts.checks import check_all, read_artifact

TINY = Path(__file__).parents[1] / "golden" / "valid" / "tiny-embedding"
FILES = sorted(path.relative_to(TINY).as_posix() for path in TINY.rglob("*") if path.is_file())
SMALL_FILE = 2500
SAMPLE = 150


@pytest.fixture
def copied(tmp_path) -> Path:
    return shutil.copytree(TINY, tmp_path / "artifact")


def refusal(folder: Path) -> str | None:
    try:
        check_all(read_artifact(folder))
    except ArtifactError as error:
        return error.code
    return None


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_anywhere_is_refused(copied, name):
    path = copied / name
    raw = path.read_bytes()
    source = random.Random(name)
    indices = range(len(raw)) if len(raw) <= SMALL_FILE else sorted(source.sample(range(len(raw)), SAMPLE))
    expected = "manifest_hash" if name.startswith("manifest.") else "file_hash"
    with path.open("r+b", buffering=0) as file:
        for index in indices:
            os.pwrite(file.fileno(), bytes([raw[index] ^ (1 << source.randrange(8))]), index)
            assert refusal(copied) == expected, f"byte {index}"
            os.pwrite(file.fileno(), raw[index : index + 1], index)
    assert refusal(copied) is None


@pytest.mark.parametrize("name", FILES)
def test_a_missing_a_longer_or_a_shorter_file_is_refused(copied, name):
    path = copied / name
    raw = path.read_bytes()
    is_manifest = name.startswith("manifest.")
    for changed in (raw + b" ", raw[:-1], b""):
        path.write_bytes(changed)
        assert refusal(copied) == ("manifest_hash" if is_manifest else "size")
    path.unlink()
    assert refusal(copied) == ("path_kind" if is_manifest else "file_set")


def test_swapped_files_of_one_size_are_refused(copied):
    first, second = copied / "onnx/model.onnx_data", copied / "onnx/model_int8.onnx_data"
    second.write_bytes(first.read_bytes()[-second.stat().st_size :])
    assert refusal(copied) == "file_hash"


def make_symlink(folder: Path) -> None:
    (folder / "config.json").rename(folder.parent / "outside.json")
    (folder / "config.json").symlink_to(folder.parent / "outside.json")


def make_fifo(folder: Path) -> None:
    os.mkfifo(folder / "fifo")


def make_linked_folder(folder: Path) -> None:
    (folder / "onnx").rename(folder.parent / "onnx")
    (folder / "onnx").symlink_to(folder.parent / "onnx", target_is_directory=True)


def make_too_many(folder: Path) -> None:
    for number in range(1000):
        (folder / f"file{number}").touch()


def make_too_deep(folder: Path) -> None:
    (folder / "/".join("d" * 20)).mkdir(parents=True)


def make_huge_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_bytes(b" " * (1 << 20) + b"{}")


def make_empty_folder(folder: Path) -> None:
    (folder / "empty").mkdir()


@pytest.mark.parametrize(
    ("corrupt", "code"),
    [
        (make_symlink, "path_kind"),
        (make_fifo, "path_kind"),
        (make_linked_folder, "path_kind"),
        (make_too_many, "path_kind"),
        (make_too_deep, "path_kind"),
        (make_huge_manifest, "path_kind"),
        (make_empty_folder, "file_set"),
    ],
)
def test_symbolic_links_special_files_and_too_many_files_are_refused(copied, corrupt, code):
    corrupt(copied)
    assert refusal(copied) == code


def test_hard_links_are_accepted_and_their_content_is_checked(copied):
    """A store whose files are named by their hashes links them into the folders of artifacts."""
    store = copied.parent / "store"
    store.mkdir()
    for number, name in enumerate(FILES):
        os.link(copied / name, store / str(number))
    assert refusal(copied) is None
    config = store / str(FILES.index("config.json"))
    config.write_bytes(config.read_bytes().swapcase())
    assert refusal(copied) == "file_hash"


def test_a_path_without_an_artifact_is_refused(tmp_path, copied):
    file = tmp_path / "file"
    file.touch()
    link = tmp_path / "link"
    link.symlink_to(copied, target_is_directory=True)
    for path in (tmp_path / "nothing", file, link, tmp_path):
        assert refusal(path) == "path_kind"


def test_no_session_is_created_for_a_refused_artifact(copied, monkeypatch):
    def no_session(*_args, **_options):
        raise AssertionError("a session was created")

    monkeypatch.setattr("onnx_ml_bridge.runtime.session.create_session", no_session)
    (copied / "extra").touch()
    with pytest.raises(ArtifactError):
        OnnxMlBridge.open(copied).warm_up()

"""A progress bar for what is pulled from a store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from ...artifacts.store.locate import is_name_in_store, local_folder
from ...artifacts.store.progress import Report
from ...artifacts.trust.keys import read_keys
from ...runtime.local_only import check_local_store
from ..console import err


@contextmanager
def download_bar() -> Iterator[Report | None]:
    """Show a progress bar over the bytes of a download if stderr is a terminal; nothing if nothing is downloaded."""
    if not err.is_terminal:
        yield None
        return
    columns = (TextColumn("pulling"), BarColumn(bar_width=24), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=err, transient=True) as bars:
        task = bars.add_task("", total=None, visible=False)
        yield lambda done, total: bars.update(task, completed=done, total=total, visible=True)


def pulled(model: Path, keys: Sequence[Path] = (), store: str | None = None) -> Path:
    """Return a folder as it is, and that of a name in a store, which is pulled.

    :param keys: paths of public keys; what is pulled must be signed by one of them.
    :param store: the address of the store; None is the one in ONNX_ML_BRIDGE_STORE.
    :raises BackendError: with the code `not_local` for a store that is not a folder, if ONNX_ML_BRIDGE_LOCAL_ONLY=1.
    """
    if not is_name_in_store(model):
        return model
    check_local_store(model, store)
    with download_bar() as report:
        return Path(local_folder(model, store, report=report, keys=read_keys(keys)))

"""What a command does with the rows of a file, and the settings from which any process can open it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from ...artifacts.store.locate import is_name_in_store
from ...artifacts.store.spec import PREFIX
from ...runtime.options import DEFAULT_TEXT_LIMIT, BridgeOptions, Model, ModelInfo
from ..jsonl import Answer, Answered, LineError, LineFormat
from ..store.progress import pulled

Entry = TypeVar("Entry")
Result = TypeVar("Result")


@dataclass(frozen=True)
class RowSettings:
    """The model of a command and the options of its calls; can be pickled.

    `options` has the arguments of the dataclass with the options of a call. `store` is the address of the store, None
    for the one in ONNX_ML_BRIDGE_STORE. `keys` are paths of public keys, one of which must have signed the model.
    `identity` is the identity that the artifact must have; None accepts any.
    """

    model: Path
    variant: str
    threads: int | None = None
    text_limit: int = DEFAULT_TEXT_LIMIT
    options: Mapping[str, Any] = field(default_factory=dict)
    store: str | None = None
    keys: tuple[Path, ...] = ()
    identity: str | None = None

    def to_model(self) -> Model:
        """Return the model to open, which is pulled if it is one of a store."""
        return Model(pulled(self.model, self.keys, self.store), variant=self.variant, identity=self.identity)

    def to_bridge_options(self) -> BridgeOptions:
        """Return the options to open it with."""
        return BridgeOptions(threads=self.threads, text_limit=self.text_limit, trusted_keys=self.keys)

    def pinned_to(self, info: ModelInfo) -> RowSettings:
        """Return the settings for other machines, on which variant and artifact must be the same at any time."""
        pinned = replace(self, variant=info.variant, identity=info.identity)
        if not is_name_in_store(self.model):
            return pinned
        # The keys were checked here, and the hash of the pinned model is
        name = f"{PREFIX}{info.name}@{info.version}#sha256:{info.identity}"
        return replace(pinned, model=Path(name), keys=())

    def pinned(self) -> dict[str, Any]:
        """Return the settings on which the output depends, besides the model."""
        return {**self.options, "text_limit": self.text_limit}


@dataclass(frozen=True)
class RowTask(Generic[Entry, Result]):
    """An open model that answers rows.

    `keys` are the keys of a row, in a JSON object or as columns of Parquet. `to_record` returns the JSON object of a
    result. `columns` maps the module pyarrow to the types of the columns of this object. `max_rows` is the maximum
    number of rows of a call.
    """

    info: ModelInfo
    answer: Answer[Entry, Result]
    line_format: LineFormat[Entry]
    keys: tuple[str, ...]
    to_record: Callable[[Result], dict[str, Any]]
    columns: Callable[[Any], dict[str, Any]]
    max_rows: int = 1024

    def output_row(self, answer: Answered[Entry, Result]) -> dict[str, Any]:
        """Return the row of the output: the record of a result, or the code and the number of a row that failed.

        The message of an error is left out, because its wording is not part of the format and would make the output
        depend on the language and the version of the command.
        """
        if isinstance(answer, LineError):
            return {"error": {"code": answer.code, "line": answer.line}}
        return self.to_record(answer[1])


# Opens the model of a command; a function of a module, so that it can be pickled
OpenRows = Callable[[RowSettings], RowTask[Any, Any]]

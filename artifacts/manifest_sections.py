"""The base class of manifest sections, and the sections that several families share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Section:
    """Base class of the sections: frozen dataclasses whose fields are the keys of the section."""

    def revision(self) -> int:
        """Return the oldest task revision that has every key of the section."""
        return 1

    def to_json(self) -> dict[str, Any]:
        """Return the section as JSON values."""
        return asdict(self)

    def files(self) -> tuple[str, ...]:
        """Return the paths of the files that the section refers to; all variants require them."""
        return ()

    def problems(self) -> list[str]:
        """Return a message for every violated rule of the section that a JSON schema cannot express."""
        return []


@dataclass(frozen=True)
class TokenizerSpec(Section):
    """The section `tokenizer` of the manifest; `max_tokens` includes special tokens."""

    file: str
    vocab_size: int
    max_tokens: int
    truncation_side: str
    pad_token: str
    pad_token_id: int

    def files(self) -> tuple[str, ...]:
        """Return the path of tokenizer.json."""
        return (self.file,)


@dataclass(frozen=True)
class IgnoredCodeSpec(Section):
    """The optional section `ignored_code`: the references of the checkpoint to code that the build ignored."""

    references: tuple[str, ...]


def code_facts(sections: Mapping[str, Section]) -> dict[str, str]:
    """Return what `show`, the model card and the report say about ignored code; empty if there was none."""
    specs = [section for section in sections.values() if isinstance(section, IgnoredCodeSpec)]
    ignored = [reference for spec in specs for reference in spec.references]
    said = f"proven against transformers' own class, the checkpoint's code ignored: {', '.join(ignored)}"
    return {"code": said} if ignored else {}

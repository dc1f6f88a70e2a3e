"""The sections of a manifest that belong to families; those of one family alone are in its declaration."""

from __future__ import annotations

from dataclasses import dataclass


class Section:
    """Base of the sections: frozen dataclasses whose fields are the keys of the manifest."""

    def files(self) -> tuple[str, ...]:
        """The files that the section names, which every variant needs."""
        return ()

    def problems(self) -> list[str]:
        """Contradictions within the section that a JSON schema cannot express, in words."""
        return []


@dataclass(frozen=True)
class TokenizerSpec(Section):
    """How texts become token ids; `max_tokens` includes special tokens."""

    file: str
    vocab_size: int
    max_tokens: int
    truncation_side: str
    pad_token: str
    pad_token_id: int

    def files(self) -> tuple[str, ...]:
        """The tokenizer's file."""
        return (self.file,)

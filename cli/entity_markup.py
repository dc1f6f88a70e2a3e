"""Texts with their entities marked, for people."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from ..runtime.entities import Entities
from .jsonl import LineError

# Readable on dark and on light grounds; the Rust command gives a label the same one.
_COLOURS = ("red", "green", "yellow", "blue", "magenta", "cyan")
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_CUT = " (the text was cut: give --stride to read it whole)"


def paint_entities(text: str, found: Entities, console: Console) -> Text:
    """The text in one line, every entity in the colour of its label, which follows in brackets.

    Where the console shows no colours, brackets stand around entity and label: `[Kofi Annan PERSON] signed.`
    """
    is_coloured = has_colours(console)
    line, done = Text(), 0
    for entity in found.entities:
        # Entities of single tokens can share characters: the later one has only what is left
        start = max(entity.start, done)
        line.append(visible(text[done:start]))
        done = max(entity.end, start)
        _append_entity(line, visible(text[start:done]), visible(entity.label), is_coloured=is_coloured)
    line.append(visible(text[done:]))
    return line.append(_CUT, style="dim") if found.truncated else line


def paint_failure(error: LineError) -> Text:
    """A line that failed."""
    return Text.assemble((f"line {error.line}: error[{error.code}]", "bold red"), f": {visible(error.message)}")


def rendered(line: Text, console: Console) -> bytes:
    """What the console would write: escape sequences only where it shows colours; lines are not broken."""
    with console.capture() as capture:
        console.print(
            line if has_colours(console) else line.plain, soft_wrap=True, markup=False, emoji=False, highlight=False
        )
    return capture.get().encode(console.encoding, "replace")


def has_colours(console: Console) -> bool:
    """Whether this is a terminal with colours, and nobody has set NO_COLOR."""
    return console.color_system is not None and not console.no_color


def label_colour(label: str) -> str:
    """The colour of a label: always the same one. Frequent ones differ: PERSON, ORG, GPE, DATE; PER, ORG, LOC, MISC."""
    index = 0
    for byte in label.encode():
        index = (10 * index + byte) % 59
    return _COLOURS[index % len(_COLOURS)]


def visible(text: str) -> str:
    """The text with everything that could steer a terminal, or turn the order of what is shown, as an escape."""
    return "".join(map(_shown, text)) if any(_steers(letter) for letter in set(text)) else text


def _shown(letter: str) -> str:
    return _ESCAPES.get(letter) or f"\\u{{{ord(letter):x}}}" if _steers(letter) else letter


def _steers(letter: str) -> bool:
    """Control characters, line and paragraph separators, and the marks of the direction of writing."""
    code = ord(letter)
    return (
        code < 0x20
        or 0x7F <= code < 0xA0
        or code in (0x61C, 0x200E, 0x200F)
        or 0x2028 <= code <= 0x202E
        or 0x2066 <= code <= 0x2069
    )


def _append_entity(line: Text, covered: str, label: str, *, is_coloured: bool) -> None:
    if is_coloured:
        line.append(covered, style=f"bold {label_colour(label)}").append(f" [{label}]", style="dim")
    else:
        line.append(f"[{covered} {label}]" if covered else f"[{label}]")

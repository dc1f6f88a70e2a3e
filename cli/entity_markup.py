"""Display texts with highlighted entities on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from ..runtime.entities import Entities
from .jsonl import LineError

# Colors that are readable on dark and light backgrounds; the Rust command assigns the same color to a label
_COLORS = ("red", "green", "yellow", "blue", "magenta", "cyan")
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_TRUNCATED = " (the text was truncated: pass --stride to read all of it)"


def highlighted_entities(text: str, entities: Entities, console: Console) -> Text:
    """Return the text in one line with every entity in the color of its label, followed by the label in brackets.

    Without colors, the brackets enclose entity and label: `[Kofi Annan PERSON] signed.`
    """
    is_colored = has_colors(console)
    line, done = Text(), 0
    for entity in entities.entities:
        # If every token is an entity of its own, entities can overlap: characters that two entities share are
        # displayed only in the first of them
        start = max(entity.start, done)
        line.append(visible(text[done:start]))
        done = max(entity.end, start)
        _append_entity(line, visible(text[start:done]), visible(entity.label), is_colored=is_colored)
    line.append(visible(text[done:]))
    return line.append(_TRUNCATED, style="dim") if entities.truncated else line


def failure_text(error: LineError) -> Text:
    """Return the error message of an input line."""
    return Text.assemble((f"line {error.line}: error[{error.code}]", "bold red"), f": {visible(error.message)}")


def rendered(line: Text, console: Console) -> bytes:
    """Return the bytes that the console writes for a line, without line wrapping.

    They contain escape sequences only if the console displays colors.
    """
    with console.capture() as capture:
        console.print(
            line if has_colors(console) else line.plain, soft_wrap=True, markup=False, emoji=False, highlight=False
        )
    return capture.get().encode(console.encoding, "replace")


def has_colors(console: Console) -> bool:
    """Return whether the console displays colors: it is a color terminal, and NO_COLOR is not set."""
    return console.color_system is not None and not console.no_color


def label_color(label: str) -> str:
    """Return the color of a label, which depends only on the label.

    The constants of the hash are chosen so that the colors of PERSON, ORG, GPE and DATE differ, and so do those of
    PER, ORG, LOC and MISC.
    """
    index = 0
    for byte in label.encode():
        index = (10 * index + byte) % 59
    return _COLORS[index % len(_COLORS)]


def visible(text: str) -> str:
    """Escape the control characters of a text, including those that change the writing direction."""
    return "".join(map(_escaped, text)) if any(_is_control(character) for character in set(text)) else text


def _escaped(character: str) -> str:
    return _ESCAPES.get(character) or f"\\u{{{ord(character):x}}}" if _is_control(character) else character


def _is_control(character: str) -> bool:
    """Return true for control characters, line and paragraph separators, and marks of the writing direction."""
    code = ord(character)
    return (
        code < 0x20
        or 0x7F <= code < 0xA0
        or code in (0x61C, 0x200E, 0x200F)
        or 0x2028 <= code <= 0x202E
        or 0x2066 <= code <= 0x2069
    )


def _append_entity(line: Text, covered: str, label: str, *, is_colored: bool) -> None:
    if is_colored:
        line.append(covered, style=f"bold {label_color(label)}").append(f" [{label}]", style="dim")
    else:
        line.append(f"[{covered} {label}]" if covered else f"[{label}]")

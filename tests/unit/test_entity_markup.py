"""Texts with highlighted entities for a terminal."""

import io
import re

import pytest
from onnx_ml_bridge.cli.entity_markup import failure_text, highlighted_entities, label_color, rendered, visible
from onnx_ml_bridge.cli.jsonl import LineError
from onnx_ml_bridge.runtime.entities import Entities, EntitySpan, entities_from_spans
from rich.console import Console

# Control characters of terminals, and characters that change the direction of text.
EVIL = "\x1b[31m\x1b[2J\x07\r\n\t\x9b\u202e\u2066\u2028\x00\x7f"


def found_in(text: str, *marked: tuple[str, str], truncated: bool = False) -> Entities:
    found = [EntitySpan(text.index(covered), text.index(covered) + len(covered), label) for covered, label in marked]
    return Entities(entities_from_spans(text, found), 9, truncated)


def painted(text: str, found: Entities, **terminal) -> str:
    console = Console(file=io.StringIO(), width=40, **terminal)
    return rendered(highlighted_entities(text, found, console), console).decode()


def test_entities_are_colored_on_a_terminal_unless_no_color_is_set():
    assert label_color("PERSON") == label_color("PERSON")
    for labels in (("PERSON", "ORG", "GPE", "DATE"), ("PER", "ORG", "LOC", "MISC")):
        assert len({label_color(label) for label in labels}) == 4
    text = "Kofi and Ada"
    found = found_in(text, ("Kofi", "PERSON"), ("Ada", "ORG"), truncated=True)
    coloured = painted(text, found, force_terminal=True, color_system="standard", no_color=False)
    assert "\x1b[1;" in coloured and "Kofi\x1b[0m" in coloured and " [PERSON]" in coloured and "--stride" in coloured
    expected = "[Kofi PERSON] and [Ada ORG] (the text was truncated: pass --stride to read all of it)\n"
    assert painted(text, found, force_terminal=True, color_system="standard", no_color=True) == expected
    assert painted(text, found) == expected


def test_a_long_text_stays_on_one_line():
    text = "word " * 100 + "Ada"
    assert painted(text, found_in(text, ("Ada", "PERSON"))).splitlines() == ["word " * 100 + "[Ada PERSON]"]


def test_overlapping_entities_are_all_shown():
    found = found_in("abc", ("ab", "A"), ("b", "B"), ("bc", "C"))
    assert painted("abc", found) == "[ab A][B][c C]\n"


@pytest.mark.parametrize("terminal", [{}, {"force_terminal": True, "color_system": "standard", "no_color": False}])
def test_control_characters_of_a_text_are_escaped(terminal):
    shown = painted(EVIL + "[bold]x[/]:smile:", found_in(EVIL, ("\x07", "L\x1b]0;x")), **terminal)
    console = Console(file=io.StringIO(), **terminal)
    shown += rendered(failure_text(LineError("bad_line", 3, EVIL)), console).decode()
    shown = re.sub(r"\x1b\[[0-9;]*m", "", shown)  # remove the command's own colors
    assert not [letter for letter in shown if letter != "\n" and visible(letter) != letter], shown
    assert shown.count("\n") == 2 and shown.count("\\u{1b}[2J") == 2 and shown.count("\\u{1b}[31m") == 2
    assert "\\r\\n\\t" in shown and "[bold]x[/]:smile:" in shown

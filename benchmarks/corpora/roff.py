"""Extract the running text from the source of man pages, without a formatting program."""

from __future__ import annotations

import re
import unicodedata

# The roff requests that begin a paragraph. `_SKIPPED_UNTIL` maps each request that begins a table, an example or
# another part to skip to the request that ends this part.
_BREAKS = {"SH", "SS", "PP", "P", "LP", "TP", "IP", "HP", "Sp", "sp", "RS", "RE", "br", "UR", "UE", "TQ"}
_SKIPPED_UNTIL = {"nf": "fi", "EX": "EE", "Vb": "Ve", "TS": "TE", "de": ".", "ig": ".", "de1": ".", "SY": "YS"}
_FONTS = {"B", "I", "R", "SM", "SB"}
_ALTERNATING = {"BR", "BI", "RB", "RI", "IB", "IR"}
_ACCENTS = {"'": "\u0301", "`": "\u0300", "^": "\u0302", ":": "\u0308", "~": "\u0303", ",": "\u0327"}
_NAMED = {
    "aq": "'",
    "cq": "’",
    "oq": "‘",
    "lq": "“",
    "rq": "”",
    "dq": '"',
    "em": "—",
    "en": "–",
    "hy": "-",
    "bu": "•",
    "co": "©",
    "rg": "®",
    "tm": "™",
    "Fo": "«",
    "Fc": "»",
    "rs": "\\",
    "ha": "^",
    "ti": "~",
    "de": "°",
    "mu": "×",
    "ga": "`",
    "sh": "#",
    "at": "@",
    "lB": "[",
    "rB": "]",
    "ss": "ß",
    "ae": "æ",
    "AE": "Æ",
    "oe": "œ",
    "OE": "Œ",
    "r!": "¡",
    "r?": "¿",
    "Eu": "€",
    "->": "→",
    "<=": "≤",
    ">=": "≥",
    "dg": "†",
    "sc": "§",
    "mc": "µ",
    "oa": "å",
}
_STRINGS = {"Aq": "'", 'L"': "“", 'R"': "”", "lq": "“", "rq": "”", "C`": "'", "C'": "'", "--": "—", "R": "®", "Tm": "™"}
_UNBROKEN = {" ": "\u00a0", "~": "\u00a0", "0": " ", "-": "-", "e": "\\", "t": "\t", "'": "'", "`": "`", "\\": "\\"}
_ESCAPE = re.compile(
    r"""\\(?:
        [*](?:\[(?P<string>[^\]]*)\] | \((?P<string2>..) | (?P<string1>.))
      | \[(?P<name>[^\]]*)\] | \((?P<name2>..)
      | [fFmMgkn](?:\[[^\]]*\]|\(..|.) | s[-+]?\d+ | [hvwlLDoxZ]'[^']*'
      | "[^\n]*
      | (?P<one>.)
    )""",
    re.VERBOSE,
)
_ARGUMENT = re.compile(r'"((?:[^"]|"")*)"?|(\S+)')


def running_text(source: str) -> str:
    """Return the paragraphs of a page, separated by empty lines, without headings, tables and examples.

    Macros of the man package are interpreted; other requests are removed with their arguments. The result is empty for
    a page that uses the mdoc macros.
    """
    if re.search(r"^\.D[dt]\b", source, re.MULTILINE):
        return ""
    paragraphs: list[list[str]] = [[]]
    skipped_until = ""
    for line in source[source.find("\n.SH") + 1 :].split("\n"):
        request, arguments = _request(line)
        if skipped_until:
            skipped_until = "" if request == skipped_until else skipped_until
        elif request in _SKIPPED_UNTIL:
            skipped_until = _SKIPPED_UNTIL[request]
        elif request in _BREAKS or not line.strip():
            paragraphs.append([])
        else:
            paragraphs[-1] += _words(line, request, arguments)
    return "\n\n".join("\n".join(part) for part in paragraphs if part)


def _request(line: str) -> tuple[str, list[str]]:
    """Return the name and the arguments of the roff request in a line; the name is empty for a line of text."""
    if not line.startswith((".", "'")) or line.startswith("'s "):
        return "", []
    name, _, rest = line[1:].lstrip().partition(" ")
    found = [quoted.replace('""', '"') or plain for quoted, plain in _ARGUMENT.findall(rest)]
    return name, found


def _words(line: str, request: str, arguments: list[str]) -> list[str]:
    """Return the text of a line as a list with one element; the list is empty if the line has no text."""
    if not request:
        text = line
    elif request in _FONTS:
        text = " ".join(arguments)
    elif request in _ALTERNATING:
        text = "".join(arguments)
    else:
        return []
    found = _ESCAPE.sub(_unescape, text).strip()
    return [found] if found else []


def _unescape(match: re.Match[str]) -> str:
    string = match["string"] or match["string2"] or match["string1"]
    if string is not None:
        return _STRINGS.get(string, "")
    name = match["name"] or match["name2"]
    if name is None:
        return _UNBROKEN.get(match["one"] or "", "")
    if re.fullmatch(r"u[0-9A-F]{4,5}", name):
        return chr(int(name[1:], 16))
    if len(name) == 2 and name[0] in _ACCENTS and name[1].isalpha():
        return unicodedata.normalize("NFC", name[1] + _ACCENTS[name[0]])
    return _NAMED.get(name, "")

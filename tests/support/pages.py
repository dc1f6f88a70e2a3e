"""A parser of HTML pages for tests."""

from __future__ import annotations

from html.parser import HTMLParser

_VOID = {"meta", "img", "br", "path", "use", "rect", "circle"}


class Page(HTMLParser):
    """The tags with their attributes, and the texts of a page; asserts that every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        self.texts.append(text)

    def all_of(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of every tag with the given name."""
        return [attributes for name, attributes in self.tags if name == tag]

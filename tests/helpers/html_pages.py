"""What an HTML page has, by the standard library's parser: for tests of how it is built and what it may load."""

from __future__ import annotations

import itertools
from html.parser import HTMLParser

_VOID = {"meta", "link", "br", "img", "input", "hr"}


class HtmlPage(HTMLParser):
    """elements: tags with their attributes, in order. text: what a reader sees. mistakes: tags that do not fit."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.mistakes: list[str] = []
        self._open: list[str] = []
        self._texts: list[str] = []
        self.feed(html)
        self.close()
        self.text = " ".join(" ".join(self._texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.mistakes.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self._texts.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def check_page(html: str) -> HtmlPage:
    """A page that runs and loads nothing, and that can be read without eyes: headings, captions, names of charts."""
    page = HtmlPage(html)
    assert page.mistakes == []
    tags = [tag for tag, _ in page.elements]
    assert html.startswith("<!doctype html>\n<html lang=")
    assert not {"script", "img", "iframe", "object", "embed", "link", "base", "form", "image", "use", "a:href"} & set(
        tags
    )
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "src", "srcset")], tag
        for name in ("href", "xlink:href"):
            assert attributes.get(name, "#").startswith("#")
    policies = [one["content"] for one in page.all("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none'; style-src 'sha256-")
    assert tags.count("main") == tags.count("h1") == tags.count("header") == tags.count("nav") == 1
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for _, attributes in page.elements:
        assert set(attributes.get("aria-labelledby", "").split()) <= set(ids)
    assert {one["href"][1:] for one in page.all("a")} <= set(ids)
    levels = [int(tag[1]) for tag in tags if tag in ("h1", "h2", "h3", "h4")]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert tags.count("table") == tags.count("caption")
    assert all(one.get("scope") in ("row", "col") for one in page.all("th"))
    for svg in page.all("svg"):
        assert svg["role"] == "img"
        assert svg["aria-labelledby"]
    assert tags.count("title") == tags.count("svg") + 1
    assert tags.count("desc") == tags.count("svg")
    return page

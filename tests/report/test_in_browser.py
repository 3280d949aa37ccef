"""Reports in a real browser, Debian's Chromium without a window; skipped where there is none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, browser
from made_results import results

from edge_lorahub.errors import EdgeLorahubWarning

pytest.importorskip("vl_convert", reason="the extra report is not installed")
NAME = "</title></script><img src=x onerror=alert(1)> \u202e" + "long" * 40
VIEWS = [("light", 1200), ("dark", 1200), ("light", 360), ("dark", 360)]


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(
    bundle: Path, module_folders: list[Path], examples: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A page of each kind, with names that try to break out."""
    import warnings

    from edge_lorahub import adapt
    from edge_lorahub.report.make import report

    top = tmp_path_factory.mktemp("pages")
    found = results(tasks=2, seeds=2, inputs=10, modules=30)
    found["methods"][1]["label"] = found["warnings"][0] = found["modules"][0]["name"] = NAME
    (top / "run").mkdir()
    (top / "run" / "results.json").write_text(json.dumps(found))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeLorahubWarning)
        adapt(bundle, module_folders, examples, budget=12, threads=1).adapter.save(top / "adapter")
    for kind in ("adapter", "run"):
        (top / f"{kind}.html").write_text(report(top / kind), encoding="utf-8")
    return {kind: top / f"{kind}.html" for kind in ("adapter", "run")}


@pytest.mark.parametrize(("scheme", "width"), VIEWS)
@pytest.mark.parametrize(("kind", "figures"), [("adapter", 3), ("run", 9)])
def test_a_page_is_whole_in_every_view(
    kind: str, figures: int, scheme: str, width: int, tab: Browser, pages: dict[str, Path], tmp_path: Path
) -> None:
    tab.open(pages[kind], width=width, scheme=scheme)
    assert tab.complaints == []
    assert tab.requests == [pages[kind].resolve().as_uri()]
    assert tab.evaluate("document.compatMode") == "CSS1Compat"
    assert tab.evaluate("document.querySelectorAll('figure svg').length") == figures
    for width_drawn, height, marks in tab.evaluate(
        "[...document.querySelectorAll('figure svg')].map(svg => [svg.getBoundingClientRect().width, "
        "svg.getBoundingClientRect().height, svg.querySelectorAll('path, line').length])"
    ):
        assert min(width_drawn, height) > 50
        assert marks > 5
    assert tab.evaluate("document.documentElement.scrollWidth") <= width, "the page itself scrolls sideways"
    paper = tab.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert paper == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 24, 28)")
    text = tab.evaluate("getComputedStyle(document.querySelector('svg text')).fill")
    assert text == ("rgb(28, 34, 40)" if scheme == "light" else "rgb(230, 234, 238)")
    tab.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 20_000


def test_opened_tables_do_not_widen_a_phones_page(tab: Browser, pages: dict[str, Path]) -> None:
    for page in pages.values():
        tab.open(page, width=360)
        tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("kind", ["adapter", "run"])
def test_what_a_screen_reader_is_told(kind: str, tab: Browser, pages: dict[str, Path]) -> None:
    tab.open(pages[kind])
    nodes = [node for node in tab.call("Accessibility.getFullAXTree")["nodes"] if not node.get("ignored")]
    named: dict[str, list[str]] = {}
    for node in nodes:
        named.setdefault(node["role"]["value"], []).append(node.get("name", {}).get("value", ""))
    assert {"banner", "navigation", "main", "contentinfo"} <= set(named)
    images = named.get("image", []) + named.get("img", [])
    assert len(images) == tab.evaluate("document.querySelectorAll('figure svg').length")
    assert all(len(name) > 20 for name in images), "a chart without a description"
    assert all(name for role in ("region", "table", "link", "heading") for name in named.get(role, []))


def test_the_keyboard_reaches_everything(tab: Browser, pages: dict[str, Path]) -> None:
    tab.open(pages["run"])
    reached = set()
    for number in range(40):
        for kind in ("keyDown", "keyUp"):
            tab.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        place = tab.evaluate("[document.activeElement.tagName, document.activeElement.className]")
        reached.add(tuple(place))
        if number == 0:
            assert place == ["A", "skip"]
    assert {("A", ""), ("DIV", "box"), ("DIV", "box chart"), ("SUMMARY", "")} <= reached


def test_texts_of_others_run_nothing(tab: Browser, pages: dict[str, Path]) -> None:
    tab.open(pages["run"])
    assert tab.evaluate("document.images.length + document.scripts.length") == 0
    assert "<img src=x onerror=alert(1)>" in tab.evaluate("document.body.innerText")


def test_a_page_prints(tab: Browser, pages: dict[str, Path]) -> None:
    tab.open(pages["adapter"], scheme="dark")
    tab.call("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert tab.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert len(tab.call("Page.printToPDF")["data"]) > 10_000
    tab.call("Emulation.setEmulatedMedia", media="")

"""The colors of a report, in both schemes and in print: by WCAG 2.2's contrast ratio."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import edge_lorahub.report

STYLE = (Path(edge_lorahub.report.__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")
Color = tuple[float, float, float]


def schemes() -> list[dict[str, Color]]:
    """The variables by their names: light, dark, print."""
    found = []
    for rule in re.findall(r":root \{([^}]*--paper[^}]*)\}", STYLE):
        colors = {}
        for name, digits in re.findall(r"--([\w-]+): #([0-9a-f]{3,6});", rule):
            full = digits if len(digits) == 6 else "".join(2 * digit for digit in digits)
            colors[name] = (int(full[:2], 16) / 255, int(full[2:4], 16) / 255, int(full[4:], 16) / 255)
        found.append(colors)
    return found


def luminance(color: Color) -> float:
    """WCAG 2.2, relative luminance."""
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: Color, other: Color) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_there_are_three_schemes_of_the_same_colors() -> None:
    found = schemes()
    assert len(found) == 3
    assert {frozenset(colors) for colors in found} == {frozenset(found[0])}


@pytest.mark.parametrize("colors", schemes(), ids=["light", "dark", "print"])
def test_texts_and_marks_can_be_read(colors: dict[str, Color]) -> None:
    """4.5 for texts, 3 for marks (1.4.3 and 1.4.11)."""
    for background in (colors["paper"], colors["raised"]):
        for name in ("ink", "soft", "link", "warning"):
            assert contrast(colors[name], background) >= 4.5, name
        for name in ("better", "worse", *(f"color-{number}" for number in range(1, 7))):
            assert contrast(colors[name], background) >= 3, name


@pytest.mark.parametrize("colors", schemes(), ids=["light", "dark", "print"])
def test_weights_on_the_map_can_be_read(colors: dict[str, Color]) -> None:
    """Texts stand on a mark that is 0.5 opaque at most."""
    for name in ("color-1", "color-2"):
        blended = [0.5 * mark + 0.5 * paper for mark, paper in zip(colors[name], colors["paper"], strict=True)]
        assert contrast(colors["ink"], (blended[0], blended[1], blended[2])) >= 4.5, name

"""Charts as SVG: Vega-Lite specifications, drawn when the report is written (docs/decisions/024-charts-are-svg.md).

Colors are names of CSS variables, which the page's style sheet gives values for a light and a dark background.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import MissingDependencyError
from .page import Figure, Table

Spec = Mapping[str, Any]

INK, SOFT, BAND = "var(--ink)", "var(--soft)", "var(--line)"
COLORS = tuple(f"var(--color-{number})" for number in range(1, 7))
_OPENING = re.compile(r'<svg [^>]*? viewBox="0 0 ([\d.]+) ([\d.]+)"[^>]*>')
_FONT = "Arial, Liberation Sans, Helvetica, sans-serif"
_CONFIG = {
    # the page describes the chart, and has a table of it: thousands of marks that are read out one by one help nobody
    "aria": False,
    "background": None,
    "font": _FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": INK, "titleColor": INK, "gridColor": BAND, "domainColor": SOFT, "tickColor": SOFT,
        "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "labelLimit": 220,
    },
    "legend": {
        "labelColor": INK, "titleColor": INK, "labelFontSize": 12, "titleFontSize": 12, "orient": "top",
        "titleFontWeight": "normal", "labelLimit": 220, "columns": 3, "symbolSize": 90,
    },
    "header": {"labelColor": INK, "titleColor": INK},
}  # fmt: skip


def draw(title: str, description: str, spec: Spec, table: Table | None = None) -> Figure:
    """A chart of a Vega-Lite specification without its look. Raises MissingDependencyError."""
    try:
        import vl_convert
    except ImportError as error:
        raise missing("vl-convert-python") from error
    svg = vl_convert.vegalite_to_svg({**spec, "config": _CONFIG}, allowed_base_urls=[])
    opening = _OPENING.match(svg)
    if opening is None:
        raise RuntimeError(f"an SVG that begins as {svg[:200]!r}")
    drawing = svg[opening.end() :].removesuffix("</svg>")
    return Figure(title, description, float(opening[1]), float(opening[2]), drawing, table)


def missing(package: str) -> MissingDependencyError:
    return MissingDependencyError(f"a report needs {package}: pip install 'edge-lorahub[report]'")

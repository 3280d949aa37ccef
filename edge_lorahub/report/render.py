"""A page as HTML that stands alone: no script, and a policy under which a browser loads nothing else."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Any

from .._version import __version__
from .drawing import missing
from .page import Page
from .shown_text import shown

_TEMPLATES = "templates"


def render(page: Page) -> str:
    """The page's HTML. Raises MissingDependencyError."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise missing("jinja2") from error

    def made_visible(value: Any) -> Any:
        return shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = Environment(
        loader=PackageLoader(__package__, _TEMPLATES),
        autoescape=True,
        finalize=made_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = (resources.files(__package__) / _TEMPLATES / "style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    text: str = environment.get_template("page.html").render(
        page=page, style=Markup(style), style_digest=digest, version=__version__
    )
    return text

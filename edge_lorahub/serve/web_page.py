"""The page, and the description of the interface: two files of the package, read once."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from .._version import __version__

_FOLDER = Path(__file__).parent
_INLINE = {kind: re.compile(f"<{kind}>(.*?)</{kind}>", re.DOTALL) for kind in ("script", "style")}


@cache
def page() -> str:
    return (_FOLDER / "page.html").read_text(encoding="utf-8")


@cache
def page_policy() -> str:
    """What the page may do (Content-Security-Policy): run its own script and style, by their digests, and ask us."""
    allowed = []
    for kind, pattern in _INLINE.items():
        digests = [hashlib.sha256(text.encode()).digest() for text in pattern.findall(page())]
        allowed.append(f"{kind}-src " + " ".join(f"'sha256-{base64.b64encode(one).decode()}'" for one in digests))
    return "; ".join(
        ["default-src 'none'", *allowed, "connect-src 'self'", "img-src data:", "base-uri 'none'", "form-action 'none'",
         "frame-ancestors 'none'"]
    )  # fmt: skip


@cache
def description() -> dict[str, Any]:
    """The interface, as OpenAPI 3.1 has it."""
    found: dict[str, Any] = json.loads((_FOLDER / "openapi.json").read_text(encoding="utf-8"))
    found["info"]["version"] = __version__
    return found

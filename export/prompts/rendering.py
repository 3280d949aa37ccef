"""Rendering a chat template, which is a program of somebody else's: in a process of its own, within limits."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from edge_lorahub.errors import CheckpointError, MissingDependencyError

from ..source.chat_templates import ChatTemplate

# Processor time and address space. Templates take milliseconds, and Python with Jinja 60 MB.
_SECONDS, _MEGABYTES = 4, 400
# By the clock, on a machine that is busy, or where the system has no limits.
_PATIENCE = 60
# Characters of a rendered text.
_LONGEST = 200_000


@dataclass(frozen=True)
class Failure:
    """What a template raised in place of a text."""

    reason: str


@dataclass(frozen=True)
class Rendered:
    """What a template makes of each conversation: a text, or a digest of one.

    literals and numbers are in the template's program, names are the variables that it reads. dated: it asked for the
    date.
    """

    found: list[str | Failure]
    literals: list[str]
    numbers: list[int]
    names: list[str]
    dated: bool


@dataclass(frozen=True)
class Conversation:
    """Messages as (role, text), and further variables; prompt: up to where the answer begins."""

    messages: Sequence[tuple[str, str]]
    prompt: bool = False
    variables: Mapping[str, Any] | None = None

    def job(self) -> dict[str, Any]:
        messages = [{"role": role, "content": text} for role, text in self.messages]
        return {"messages": messages, "add_generation_prompt": self.prompt, **(self.variables or {})}


def render(
    template: ChatTemplate, conversations: Sequence[Conversation], arguments: Mapping[str, Any], now: datetime,
    *, digests: bool = False,
) -> Rendered:  # fmt: skip
    """Raises MissingDependencyError without Jinja, and CheckpointError for no template, or one beyond the limits."""
    if importlib.util.find_spec("jinja2") is None:
        raise MissingDependencyError(
            f"{template.where}: a chat template is rendered by Jinja; install it with: pip install 'edge-lorahub[chat]'"
        )
    job = {
        "path": sys.path,
        "template": template.text,
        "variables": {name: text for name, text in template.tokens.items() if text} | dict(arguments),
        "conversations": [one.job() for one in conversations],
        "now": now.isoformat(),
        "digests": digests,
        "seconds": _SECONDS,
        "megabytes": _MEGABYTES,
        "longest": _LONGEST,
    }
    result = _run(json.dumps(job), template.where)
    if "error" in result:
        raise CheckpointError(f"{template.where} is no chat template that Jinja can read ({_line(result['error'])})")
    found = [one["text"] if "text" in one else Failure(_line(one["error"])) for one in result["found"]]
    return Rendered(found, result["literals"], result["numbers"], result["names"], result["dated"])


def _run(job: str, where: str) -> dict[str, Any]:
    worker = Path(__file__).with_name("template_worker.py")
    try:
        ended = subprocess.run(
            [sys.executable, str(worker)], input=job, capture_output=True, text=True, encoding="utf-8",
            timeout=_PATIENCE, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        ended = None
    if ended is not None and ended.returncode == 0:
        found: dict[str, Any] = json.loads(ended.stdout)
        return found
    last = _line(ended.stderr.strip().rpartition("\n")[2]) if ended is not None else ""
    why = f"within {_SECONDS} s and {_MEGABYTES} MB, which are far more than any template needs"
    # an exception that is no lack of memory ends the process with 1
    if ended is not None and ended.returncode == 1 and last and not last.startswith("MemoryError"):
        why = f"({last})"
    raise CheckpointError(f"{where} cannot be rendered {why}; take another template, or none")


def _line(text: str) -> str:
    return " ".join(text.split())[:200]

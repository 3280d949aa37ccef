"""Renders a chat template in a process of its own, within limits of time and memory. Run by `rendering`, as a script.

Reads a job as JSON from standard input, and writes what came of it to standard output. It imports nothing of ours.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any


def limit(seconds: int, megabytes: int) -> None:
    """Bounds what this process may take. Where the system knows no such bounds, the parent's clock is what is left."""
    with suppress(ImportError):
        import resource

        for kind, most in (
            ("RLIMIT_CPU", seconds),
            ("RLIMIT_AS", megabytes << 20),
            ("RLIMIT_FSIZE", 0),
            ("RLIMIT_CORE", 0),
        ):
            with suppress(AttributeError, OSError, ValueError):
                resource.setrlimit(getattr(resource, kind), (most, most))


def environment(now: datetime, asked_for_date: Callable[[], None]) -> Any:
    """Jinja's sandbox with the settings, tags, filters and functions that transformers gives to chat templates."""
    from jinja2 import TemplateError, nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):  # type: ignore[misc]  # Jinja is not there for mypy
        """The tag that marks what the assistant says, for training. It changes no text."""

        tags = {"generation"}  # noqa: RUF012  # Jinja's own form

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.CallBlock(self.call_method("_as_it_is"), [], [], body).set_lineno(line)

        def _as_it_is(self, caller: Callable[[], str]) -> str:
            return caller()

    def to_json(
        value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
    ) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    def strftime_now(form: str) -> str:
        asked_for_date()
        return now.strftime(form)

    result = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    result.filters["tojson"] = to_json
    result.globals["raise_exception"] = raise_exception
    result.globals["strftime_now"] = strftime_now
    return result


def literals(tree: Any) -> list[str]:
    """The texts that a template's program has, by which it may look into a message."""
    from jinja2 import nodes

    return sorted({node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)})


def numbers(tree: Any) -> list[int]:
    """The whole numbers that it has, by which it may look at a message's length."""
    from jinja2 import nodes

    return sorted({node.value for node in tree.find_all(nodes.Const) if type(node.value) is int})


def run(job: dict[str, Any]) -> dict[str, Any]:
    """The texts of all conversations, or their digests; what a template raises in place of a text, as its error."""
    from jinja2 import TemplateSyntaxError, meta

    dates: list[bool] = []
    jinja = environment(datetime.fromisoformat(job["now"]), lambda: dates.append(True))
    try:
        tree = jinja.parse(job["template"])
        template = jinja.from_string(job["template"])
    except TemplateSyntaxError as error:
        return {"error": f"line {error.lineno}: {error.message}"}
    found = []
    for conversation in job["conversations"]:
        text, size = [], 0
        variables = {"tools": None, "documents": None, **job["variables"], **conversation}
        try:
            for piece in template.generate(variables):
                size += len(piece)
                if size > job["longest"]:
                    raise ValueError(f"a text of more than {job['longest']} characters")
                text.append(piece)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever a template can raise
            found.append({"error": f"{type(error).__name__}: {error}"[:300]})
            continue
        whole = "".join(text)
        if job["digests"]:
            found.append({"text": hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()})
        else:
            found.append({"text": whole})
    return {
        "found": found,
        "literals": literals(tree),
        "numbers": numbers(tree),
        "names": sorted(meta.find_undeclared_variables(tree)),
        "dated": bool(dates),
    }


def main() -> None:
    job = json.load(sys.stdin)
    # where the parent finds its libraries, and not the folder of this script
    sys.path[:] = job["path"]
    import jinja2.ext
    import jinja2.meta
    import jinja2.sandbox  # noqa: F401  # all of them before the limits

    limit(job["seconds"], job["megabytes"])
    json.dump(run(job), sys.stdout)


if __name__ == "__main__":
    main()

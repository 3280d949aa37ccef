"""Writes docs/reference/cli.md from the commands themselves: `python docs/scripts/cli_reference.py`.

It reads click's objects and not its help, whose form changes with click's version.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import click

from edge_lorahub.cli.main import cli

PAGE = Path(__file__).parents[1] / "reference" / "cli.md"

_FRONT = """\
# The command line

<!-- made by docs/scripts/cli_reference.py; a test compares -->

Every command has `--help`. Options that say the same have the same name in every command.

| exit code | |
|---|---|
| 0 | done |
| 2 | something that was given is wrong, or the system refused something: one line says what and where, and what to do |
| 70 | a defect of edge-lorahub: one line, and a traceback with `EDGE_LORAHUB_TRACEBACK=1` |
| 129, 130, 143 | ended by SIGHUP, Ctrl-C or SIGTERM |

Warnings and progress go to standard error, results to standard output.
"""


def reference() -> str:
    """The page's text."""
    context = click.Context(cli, info_name="edge-lorahub")
    return "\n".join([_FRONT, *_commands(cli, context)])


def _commands(group: click.Group, parent: click.Context) -> Iterator[str]:
    for name in group.list_commands(parent):
        command = group.get_command(parent, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=parent)
        arguments = [_argument(param) for param in command.params if isinstance(param, click.Argument)]
        options = [param for param in command.params if isinstance(param, click.Option)]
        level = "##" if parent.parent is None else "###"
        yield f"{level} {context.command_path.partition(' ')[2]}\n"
        yield f"    {' '.join([context.command_path, *arguments, *(['[OPTIONS]'] if options else [])])}\n"
        yield f"{inspect.cleandoc(command.help or '')}\n"
        if options:
            yield "| option | what |\n|---|---|"
            yield from map(_row, options)
            yield ""
        if isinstance(command, click.Group):
            yield from _commands(command, context)


def _argument(param: click.Argument) -> str:
    name = param.metavar or (param.name or "").upper()
    return name if param.nargs == 1 else f"[{name.strip('[]. ')} ...]"


def _row(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    what = " ".join((option.help or "").split())
    notes = ["required"] if option.required else []
    notes += ["may be repeated"] if option.multiple and "may be" not in what else []
    notes += [f"default: {_default(option)}"] if option.show_default and option.default is not None else []
    taken = "" if option.is_flag else f" {_kind(option)}"
    noted = f" [{'; '.join(notes)}]" if notes else ""
    return f"| {_cell(names + taken)} | {_cell(what + noted)} |"


def _kind(option: click.Option) -> str:
    """What the option takes, in a word or two."""
    kind = option.type
    if option.metavar:
        return option.metavar
    if isinstance(kind, click.Choice):
        return " or ".join(f"`{choice}`" for choice in kind.choices)
    if isinstance(kind, click.IntRange):
        most = "" if kind.max is None else f" to {kind.max}"
        return f"N (from {kind.min}{most})"
    return {"integer": "N", "float": "NUMBER", "path": "PATH", "text": "TEXT"}.get(kind.name, kind.name.upper())


def _default(option: click.Option) -> str:
    if option.is_flag and option.secondary_opts:
        return (option.opts if option.default else option.secondary_opts)[0].lstrip("-")
    return ", ".join(map(str, option.default)) if option.multiple else str(option.default)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")

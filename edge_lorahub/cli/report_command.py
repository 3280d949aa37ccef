"""`edge-lorahub report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import options
from .holdout import MOST_EXAMPLES
from .main import COMMANDS
from .printable import say
from .system_text import place_system

if TYPE_CHECKING:
    from ..report.before_after import Answers


@click.command(short_help=COMMANDS["report"][1])
@click.argument("path", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="The page to write: FILE.html.")
@click.option(
    "--bundle", type=options.BUNDLE, help="With --examples: the bundle that answers them, with the adapter and without."
)
@click.option(
    "--examples",
    type=click.Path(path_type=Path),
    help="Examples to answer for an adapter's page, as a record keeps no texts: a file as for adapt.",
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=MOST_EXAMPLES,
    show_default=True,
    help="Answer this many of the examples, from the file's front.",
)
@options.threads
@options.force
def command(
    path: Path, out: Path, bundle: Path | None, examples: Path | None, limit: int, threads: int | None, force: bool
) -> None:  # fmt: skip
    """Write a page that shows what was learned, or compared.

    PATH is the folder of an adapter that was learned here, or of a comparison. The page is one HTML file: it loads
    nothing and runs no script.
    """
    from ..errors import SettingsError
    from ..files.user_path import user_path
    from ..report.make import kind_of_report, report
    from ..report.report_file import check_report_file, write_report_file

    context = click.get_current_context()
    given = [
        f"--{name}" for name in ("bundle", "examples", "limit", "threads")
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    ]  # fmt: skip
    if kind_of_report(user_path(path)) == "comparison" and given:
        raise SettingsError(f"{path}: a comparison, whose report has no use for {', '.join(given)}; leave it out")
    if given and (bundle is None or examples is None):
        missing = " and ".join(
            name for name, value in (("--bundle", bundle), ("--examples", examples)) if value is None
        )
        raise SettingsError(f"{', '.join(given)}: answers need {missing} too")
    check_report_file(out, force=force)
    _check_extra()
    answers = None if bundle is None or examples is None else _answers(path, bundle, examples, limit, threads)
    write_report_file(out, report(path, answers), force=force)
    say(f"report: {out}")


def _check_extra() -> None:
    """Says before the slow part that a library is missing."""
    import importlib.util

    from ..report.drawing import missing

    for module, package in (("jinja2", "jinja2"), ("vl_convert", "vl-convert-python")):
        if importlib.util.find_spec(module) is None:
            raise missing(package)


def _answers(path: Path, bundle: Path, file: Path, limit: int, threads: int | None) -> Answers:
    from ..errors import warn
    from ..examples.example import read_with_system
    from ..report.before_after import answer

    examples, systems = read_with_system(file)
    given = click.get_current_context().get_parameter_source("limit") is click.core.ParameterSource.COMMANDLINE
    if given:
        options.warn_of_fewer(file, limit, len(examples))
    elif len(examples) > limit:
        warn(f"{file}: answering the first {limit} of {len(examples)} examples; --limit {len(examples)} takes them all")
    examples, systems = examples[:limit], systems[:limit]
    model, adapter, prompt = options.load_model(bundle, str(path), threads, None, None)
    assert adapter is not None
    examples, prompt = place_system(file, examples, systems, model.bundle, prompt, None)
    return answer(model, adapter, examples, prompt)

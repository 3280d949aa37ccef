"""`edge-lorahub demo`: real learning on the embedded hub, with no download, or on a real language model."""

from __future__ import annotations

import click
from click.core import ParameterSource

from ..errors import SettingsError
from . import options
from .main import COMMANDS
from .printable import say_json

# The tasks that are shown where none is named.
_TINY, _LANGUAGE = "first-upper-plain", "past-json"


@click.command(short_help=COMMANDS["demo"][1])
@click.option(
    "--language",
    is_flag=True,
    help="Show it on SmolLM2-135M-Instruct and modules of English skills and forms (needs edge-lorahub[language]).",
)
@click.option(
    "--task", "name", help=f"An unseen task.  [default: {_TINY}; with --language {_LANGUAGE}]"
)  # fmt: skip
@click.option("--list", "list_tasks", is_flag=True, help="List the unseen tasks and stop.")
@click.option(
    "--modules",
    "kind",
    type=click.Choice(["clean", "entangled", "both"]),
    default="clean",
    show_default=True,
    help="Of the embedded hub: modules of one skill each, of fixed combinations of three, or both.",
)
@options.budget
@options.search
@click.option("--seed", default=1, show_default=True, help="Of the examples and of the optimizer.")
@options.threads
@options.as_json
def command(
    language: bool, name: str | None, list_tasks: bool, kind: str, budget: int | None, composition: str | None,
    optimizer: str, surrogate: bool | None, seed: int, threads: int | None, as_json: bool,
) -> None:  # fmt: skip
    """See LoraHub learning work on the embedded hub: a tiny T5 and 44 LoRA modules.

    Takes a task that neither the base nor any module was trained on, learns it from five examples, and
    measures on 200 other inputs: exact match, to the letter, and normalized match, as evaluate does.

    With --language the model is a real one, the tasks are English, and beside it stands the same model that is
    prompted with the five examples, with the tokens that this takes. The model is exported once into the cache.
    """
    from ..langhub import TASKS
    from ..learning.settings import Settings
    from ..tinyhub import DEV_TASKS, TEST_TASKS

    tiny = {task.name: task for task in (*DEV_TASKS, *TEST_TASKS)}
    tasks = TASKS if language else {name: task.description for name, task in tiny.items()}
    source = click.get_current_context().get_parameter_source("kind")
    if language and source is ParameterSource.COMMANDLINE:
        raise SettingsError("--language has no use for --modules, which is for the embedded hub alone; leave it out")
    if list_tasks:
        if as_json:
            say_json(tasks)
        else:
            options.print_table(["task", "what"], list(tasks.items()), numbers=False)
        return
    name = name or (_LANGUAGE if language else _TINY)
    if name not in tasks:
        flag = " --language" if language else ""
        raise SettingsError(f"no unseen task {name!r}; `edge-lorahub demo{flag} --list` has them all")
    options.refuse_unused(optimizer, ["surrogate"] if surrogate is False else [])
    settings = Settings(optimizer=optimizer, surrogate=surrogate, budget=budget, seed=seed, composition=composition)
    if language:
        from .demo_language import demonstrate

        facts = demonstrate(name, settings, threads, quiet=as_json)
    else:
        from .demo_tiny import demonstrate as demonstrate_tiny

        facts = demonstrate_tiny(tiny[name], kind, settings, threads, quiet=as_json)
    if as_json:
        say_json(facts)

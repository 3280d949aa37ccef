"""Where the modules of a command come from: folders, the Hub, and the local store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from ..errors import MissingPathError, SettingsError, StoreError, warn
from ..files.kinds import ONNX_ADAPTER, SIGNS
from ..files.kinds import modules_in as found_in
from .printable import count_of

if TYPE_CHECKING:
    from ..bundle.manifest import Manifest
    from ..lora.modules import Modules

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class HubChoice:
    """Which modules of the local store: those with all of the tags, or so many of them, drawn with the seed."""

    store: str | None
    tags: tuple[str, ...]
    count: int | None
    seed: int


def store_option(function: F) -> F:
    return click.option(
        "--store", metavar="DIR", help="The local store's folder.  [default: EDGE_LORAHUB_HUB, or the user's own]"
    )(function)


def named(function: F) -> F:
    """Modules by their folders."""
    for option in (
        click.option(
            "--modules", "parents", multiple=True, type=click.Path(path_type=Path), metavar="DIR",
            help="A folder of modules: every PEFT folder in it.",
        ),
        click.option(
            "--module", "-m", "sources", multiple=True, metavar="DIR", help="A LoRA module: a PEFT folder or Hub id."
        ),
    ):  # fmt: skip
        function = option(function)
    return function


def from_hub(function: F) -> F:
    """The options that `HubChoice` is made of."""
    counted = click.option(
        "--count", type=click.IntRange(1), metavar="N", help="With --hub: so many of them, drawn with --seed."
    )
    return of_store(counted(function))


def of_store(function: F) -> F:
    """All of them but how many."""
    for option in (
        click.option("--tag", "tags", multiple=True, metavar="TAG", help="With --hub: with this tag."),
        store_option,
        click.option(
            "--hub", is_flag=True,
            help="Take modules of the local store (`edge-lorahub hub`): those that fit the bundle and, without --tag, "
            "name no other base model.",
        ),
    ):  # fmt: skip
        function = option(function)
    return function


def refuse_without_hub(hub: bool, names: Sequence[str] = ("store", "tags", "count")) -> None:
    """Refuses the running command's options of the store, by their names, where --hub is not given."""
    context = click.get_current_context()
    given = [
        option.opts[0]
        for option in context.command.params
        if option.name in names and context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE
    ]
    if given and not hub:
        raise SettingsError(f"{', '.join(given)}: of the local store's modules; give --hub too")


def modules_of(
    sources: Sequence[str], parents: Sequence[Path], choice: HubChoice | None, manifest: Manifest
) -> Modules:
    """The modules that were named, and those of the store that were chosen. Raises what is wrong with any of them."""
    from ..lora.modules import Modules

    named: list[str | Path] = [*sources, *(folder for parent in parents for folder in modules_in(parent))]
    if choice is None:
        return Modules.load(named)
    chosen = _chosen(choice, manifest)
    return Modules.load(named) + chosen if named else chosen


def modules_in(parent: Path) -> Sequence[str | Path]:
    """Every module in a folder of modules, or that a list file names. Raises MissingPathError or SettingsError."""
    if parent.is_file():
        from ..lora.module_list import module_list

        return module_list(parent)
    if not parent.is_dir():
        raise MissingPathError(f"{parent}: no such folder of modules, and no list of them")
    if (parent / SIGNS["module"]).is_file():
        raise SettingsError(f"{parent}: a module itself, not a folder of modules; name it without --modules")
    folders = found_in(parent)
    if not folders:
        raise SettingsError(f"{parent}: no module in it (no folder with {SIGNS['module']}, and no {ONNX_ADAPTER} file)")
    return folders


def _chosen(choice: HubChoice, manifest: Manifest) -> Modules:
    from ..sharing.choosing import draw, strangers
    from ..sharing.module_hub import Hub

    hub = Hub(choice.store)
    tagged = hub.list(tags=choice.tags)
    # who names a tag has chosen: then another base model is the warning that it is with --module
    others = {} if choice.tags else strangers(tagged, manifest)
    left_out = others | hub.misfits(tagged, manifest)
    suited = [entry for entry in tagged if entry.name not in left_out]
    if left_out:
        warn(f"left out of {count_of(len(tagged), 'module')} in {hub.path}: {_summary(left_out)}")
    if not suited:
        tags = f" with the tags {', '.join(choice.tags)}" if choice.tags else ""
        raise StoreError(f"no module{tags} in {hub.path} that suits the bundle; `edge-lorahub hub list` has all names")
    return hub.load(suited if choice.count is None else draw(suited, choice.count, choice.seed))


def _summary(reasons: Mapping[str, str]) -> str:
    """So many, and why the first."""
    name, reason = next(iter(reasons.items()))
    return f"{len(reasons)}; {name}: {reason}"

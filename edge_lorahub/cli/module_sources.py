"""Where the modules of a command come from: folders, the Hub, and the local store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from ..errors import MissingPathError, SettingsError, StoreError, warn
from ..files.kinds import ONNX_ADAPTER, SIGNS, kind_of
from ..files.kinds import modules_in as found_in
from ..messages import some_of
from .options import options_of_command
from .printable import count_of, say

if TYPE_CHECKING:
    from ..bundle.manifest import Manifest
    from ..composition.selection import Selection
    from ..examples.example import Example
    from ..lora.modules import Modules
    from ..sharing.selecting import Pool

F = TypeVar("F", bound=Callable[..., Any])
# Names in the line that says which were chosen, and why they were.
_MOST_SAID = 30
_REASONS = {
    "random": "drawn with seed {seed}",
    "similar": "by how similar what they say is to the examples",
    "probe": "by their loss alone, for which all of them were read",
}


@dataclass(frozen=True)
class Choice:
    """Which modules: with `hub` those of the local store with all of the tags; with a count so many of them.

    Without `hub` the count is of the folders and lists of modules. method: one of `composition.selection.SELECTIONS`.
    """

    hub: bool
    store: str | None
    tags: tuple[str, ...]
    count: int | None
    seed: int
    method: str | None


@dataclass(frozen=True)
class Task:
    """What modules are chosen for: the examples, and how each module's loss alone on them is had."""

    examples: Sequence[Example]
    losses_alone: Callable[[Modules], Sequence[float]]


def store_option(function: F) -> F:
    return click.option(
        "--store", metavar="DIR", help="The local store's folder.  [default: EDGE_LORAHUB_HUB, or the user's own]"
    )(function)


def named(function: F) -> F:
    """Modules by their folders, files and Hub ids."""
    for option in (
        click.option(
            "--modules", "parents", multiple=True, type=click.Path(path_type=Path), metavar="DIR|LIST",
            help="A folder of modules: every one in it. Or a list file: a path or Hub id a line.",
        ),
        click.option(
            "--module", "-m", "sources", multiple=True, metavar="DIR|FILE|HUB_ID",
            help="A LoRA module: a folder of PEFT or mlx_lm, an .onnx_adapter file or a folder of them, or a Hub id.",
        ),
    ):  # fmt: skip
        function = option(function)
    return function


def from_hub(function: F) -> F:
    """The options that `Choice` is made of."""
    selected = click.option(
        "--select", "method", type=click.Choice(["random", "similar", "probe"]),
        help="With --count: which ones. random: drawn with --seed (the default). similar: whose names, tags, cards "
        "and examples are most like the examples' texts; reads no others' tensors. probe: that have the least loss "
        "alone; reads and evaluates all of them.",
    )  # fmt: skip
    return of_store(counted(selected(function)))


def counted(function: F) -> F:
    """How many modules there are to be."""
    return click.option(
        "--count", type=click.IntRange(1), metavar="N",
        help="So many modules: of the store with --hub, else of --modules; drawn with --seed.",
    )(function)  # fmt: skip


def of_store(function: F) -> F:
    """Which modules of the local store."""
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


def refuse_idle(hub: bool, parents: Sequence[Path], count: int | None = None, method: str | None = None) -> None:
    """Refuses the running command's options of a choice of modules where there is none."""
    context = click.get_current_context()
    given = [
        option.opts[0]
        for option in context.command.params
        if option.name in ("store", "tags") and context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE
    ]
    if given and not hub:
        raise SettingsError(f"{', '.join(given)}: of the local store's modules; give --hub too")
    if count is not None and not (hub or parents):
        raise SettingsError("--count: of the store's modules, or of a folder's or list's; give --hub or --modules too")
    if method is not None and count is None:
        raise SettingsError(f"--select {method}: give --count, which says how many are to be taken")


def modules_of(
    sources: Sequence[str], parents: Sequence[Path], choice: Choice, manifest: Manifest, task: Task | None = None
) -> tuple[Modules, Selection | None]:
    """The modules that were named, and those that were chosen; and how, where there is a count.

    Without a task they can be drawn alone. Raises what is wrong with any of them.
    """
    from ..lora.modules import Modules
    from ..sharing.selecting import pool_of

    named: list[str | Path] = [*sources]
    found = [module for parent in parents for module in modules_in(parent)]
    if choice.hub:
        named += found
        chosen, selection = _of_store(choice, manifest, task)
        return (Modules.load(named) + chosen if named else chosen), selection
    if choice.count is None:
        return Modules.load([*named, *found]), None
    pool = pool_of(found)
    if not named:
        return _selected(pool, choice, task)
    first = Modules.load(named)
    # whatever would be drawn: the same command must not work with one seed and fail with another
    if both := sorted(set(first.names) & set(pool.names)):
        raise SettingsError(f"{both[0]}: named by --module, and one of --modules too; leave out one of the two")
    chosen, selection = _selected(pool, choice, task)
    return first + chosen, selection


def modules_in(parent: Path) -> Sequence[str | Path]:
    """Every module in a folder of modules, or that a list file names. Raises MissingPathError or SettingsError."""
    if parent.is_file() and parent.suffix == ONNX_ADAPTER:
        raise SettingsError(f"{parent}: a module itself, not a list of modules; {_by_itself()}")
    if parent.is_file():
        from ..lora.module_list import module_list

        return module_list(parent)
    if not parent.is_dir():
        raise MissingPathError(f"{parent}: no such folder of modules, and no list of them")
    if (parent / SIGNS["module"]).is_file():
        raise SettingsError(f"{parent}: a module itself, not a folder of modules; {_by_itself()}")
    folders, deeper = found_in(parent), _deeper(parent)
    if not folders:
        advice = f"; there are modules in {some_of(deeper)}: name such a folder with --modules" if deeper else ""
        raise SettingsError(
            f"{parent}: no module in it (no folder with {SIGNS['module']}, and no {ONNX_ADAPTER} file){advice}"
        )
    if deeper:
        warn(
            f"{parent}: the modules in {some_of(deeper)} lie a folder deeper, and are not taken; name such a folder "
            "with --modules"
        )
    return folders


def _deeper(parent: Path) -> list[str]:
    """Folders of modules in a folder: a training's checkpoints within a module are not meant, nor what is hidden."""
    return sorted(str(path) for path in parent.iterdir() if not path.name.startswith(".") and _has_modules(path))


def _has_modules(folder: Path) -> bool:
    """Whether it is a folder of modules; one that may not be read, as lost+found, is none."""
    try:
        return folder.is_dir() and not kind_of(folder) and bool(found_in(folder))
    except OSError:
        return False


def _by_itself() -> str:
    """How the running command takes a single module."""
    if "sources" in options_of_command():
        return "name it with --module"
    return "name it as an argument, without --modules"


def _of_store(choice: Choice, manifest: Manifest, task: Task | None) -> tuple[Modules, Selection | None]:
    from ..sharing.choosing import strangers
    from ..sharing.module_hub import Hub
    from ..sharing.selecting import Pool

    hub = Hub(choice.store)
    hub.check_exists()
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
    if choice.count is None:
        return hub.load(suited), None
    names = [entry.name for entry in suited]
    pool = Pool(names, lambda: hub.texts(suited), lambda places: hub.load([suited[place] for place in places]))
    return _selected(pool, choice, task)


def _selected(pool: Pool, choice: Choice, task: Task | None) -> tuple[Modules, Selection]:
    from ..sharing.selecting import RANDOM, select

    method = choice.method or RANDOM
    if task is None:
        task = Task((), lambda modules: [])
    chosen, selection = select(pool, method, choice.count or 0, choice.seed, task.examples, task.losses_alone)
    said = [name if score is None else f"{name} ({score:.3f})" for name, score in selection.scores.items()]
    rest = f" and {len(said) - _MOST_SAID} more" if len(said) > _MOST_SAID else ""
    say(
        f"{len(said)} of {count_of(selection.considered, 'module')}, {_REASONS[method].format(seed=choice.seed)}: "
        f"{', '.join(said[:_MOST_SAID])}{rest}",
        err=True,
    )
    return chosen, selection


def _summary(reasons: Mapping[str, str]) -> str:
    """So many, and why the first."""
    name, reason = next(iter(reasons.items()))
    return f"{len(reasons)}; {name}: {reason}"

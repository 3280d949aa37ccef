"""`edge-lorahub hub`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import StoreError
from . import options
from .hub_outcomes import print_outcomes
from .main import COMMANDS
from .module_sources import modules_in, store_option
from .printable import count_of, say, say_columns, say_json

if TYPE_CHECKING:
    from ..hub.entry import Entry
    from ..sharing.adding import Outcome
    from ..sharing.module_hub import Hub

F = TypeVar("F", bound=Callable[..., Any])

# Columns of a list: heading, and what stands there.
_COLUMNS: Sequence[tuple[str, Callable[[Entry], str]]] = (
    ("name", lambda entry: entry.name),
    ("kind", lambda entry: entry.kind),
    ("base model", lambda entry: entry.base_model or "not said"),
    ("layers", lambda entry: f"{entry.layers} ({entry.layer_kinds})"),
    ("rank", lambda entry: entry.ranks),
    ("size", lambda entry: f"{entry.size / 1e6:.1f} MB" if entry.size >= 1e6 else f"{entry.size / 1e3:.0f} kB"),
    ("tags", lambda entry: ", ".join(entry.tags)),
)


@click.group(short_help=COMMANDS["hub"][1])
def command() -> None:
    """Keep modules under names, share them, and find them again.

    The store is a folder: --store, or EDGE_LORAHUB_HUB, or one in the user's data folder.
    """


def _tags(what: str) -> Callable[[F], F]:
    return click.option("--tag", "tags", multiple=True, metavar="TAG", help=what)


def _hub(store: str | None) -> Hub:
    from ..sharing.module_hub import Hub

    return Hub(store)


def _existing(store: str | None) -> Hub:
    """The store, which must be there where the user has named it; the one of nobody's choice is empty at first."""
    from ..hub.place import is_named

    hub = _hub(store)
    if is_named(store):
        hub.check_exists()
    return hub


@command.command("add")
@click.argument("sources", nargs=-1, metavar="[DIR|HUB_ID ...]")
@click.option(
    "--modules", "parents", multiple=True, type=click.Path(path_type=Path), metavar="DIR|LIST",
    help="A folder of modules: every one in it. Or a list file: a path or Hub id a line.",
)  # fmt: skip
@click.option(
    "--name", metavar="NAME", help="What to call it.  [default: the folder's name, or the Hub id's last part]"
)
@_tags("A tag to find it by.")
@click.option(
    "--examples", type=click.Path(path_type=Path), metavar="FILE",
    help="Examples of what it was trained on, to find it by (adapt --select similar); their texts are kept.",
)  # fmt: skip
@click.option("--revision", help="A branch, tag or commit on the Hub.")
@store_option
@options.as_json
def add(
    sources: tuple[str, ...], parents: tuple[Path, ...], name: str | None, tags: tuple[str, ...],
    examples: Path | None, revision: str | None, store: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Store modules: PEFT folders, Hub ids, and adapters that `adapt` has saved.

    Adapters of mlx_lm and .onnx_adapter files of this package's graphs are kept as PEFT folders.

    Where one of several cannot be stored the others are, and the exit code is 2. What is there already stays, so that
    the command can be repeated.
    """
    from ..examples.example import read_examples
    from ..sharing.module_hub import wanted_modules
    from ..sharing.preparing import default_name

    listed: list[str | Path] = [*sources, *(folder for parent in parents for folder in modules_in(parent))]
    given = None if examples is None else read_examples(examples)
    wanted = wanted_modules([(source, default_name(source)) for source in listed], name, revision, given)
    print_outcomes(_hub(store).added(wanted, tags), len(wanted), as_json)


@command.command("pull")
@click.argument("what", nargs=-1, required=True, metavar="[LIST|PATTERN|HUB_ID ...]")
@click.option("--count", type=click.IntRange(1), metavar="N", help="So many of them, drawn at random.")
@click.option("--seed", default=1, show_default=True, help="The draw's seed.")
@_tags("A tag to find them by.")
@click.option("--revision", help="A branch, tag or commit on the Hub, of all of them.")
@click.option("--dry-run", is_flag=True, help="Print their Hub ids, and fetch nothing.")
@store_option
@options.as_json
def pull(
    what: tuple[str, ...], count: int | None, seed: int, tags: tuple[str, ...], revision: str | None, dry_run: bool,
    store: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Store many modules from the Hugging Face Hub, several at once.

    LIST is a file with a Hub id a line, or `lorahub`: the 196 modules for flan-t5-large of the LoraHub paper, which
    draws 20 of them. PATTERN is as lorahub/flan_t5_large-*. What was pulled before is not fetched again, so that the
    same command goes on where it was ended.
    """
    from ..hub.repositories import repositories
    from ..sharing.choosing import draw
    from ..sharing.pulling import pull as pulled
    from .progress import progress

    found = [*dict.fromkeys(name for each in what for name in repositories(each))]
    chosen = found if count is None else draw(found, count, seed)
    if dry_run:
        if as_json:
            say_json(chosen)
        else:
            say(*chosen)
        return
    with progress("modules", len(chosen), 1) as advance:

        def counted() -> Iterator[Outcome]:
            for outcome in pulled(_hub(store), chosen, tags, revision):
                advance(1)
                yield outcome

        # lines would go through the bar
        print_outcomes(counted(), len(chosen), as_json, quiet=len(chosen) > 1 and sys.stderr.isatty())


@command.command("list")
@click.option("--base", metavar="MODEL", help="Of this base model, whoever's copy of it.")
@_tags("With this tag; of several with all of them.")
@click.option("--fits", type=click.Path(path_type=Path), metavar="BUNDLE",
              help="Whose layers are slots of this bundle, and of the same shapes.")  # fmt: skip
@store_option
@options.as_json
def list_(base: str | None, tags: tuple[str, ...], fits: Path | None, store: str | None, as_json: bool) -> None:
    """List modules, by the index alone."""
    hub = _existing(store)
    entries = hub.list(base=base, tags=tags)
    reasons: dict[str, str] = {}
    if fits is not None:
        from ..bundle.manifest import read_manifest
        from ..files.user_path import user_path

        reasons = hub.misfits(entries, read_manifest(user_path(fits)))
    fitting = [entry for entry in entries if entry.name not in reasons]
    if as_json:
        say_json([entry_json(entry) for entry in fitting])
    elif fitting:
        say_columns([[heading for heading, _ in _COLUMNS], *([text(e) for _, text in _COLUMNS] for e in fitting)])
    if not fitting and not as_json:
        say(f"no modules{' of these' if entries or base or tags else ''} in {hub.path}")
    if base is not None and (nameless := sum(not entry.base_model for entry in hub.list(tags=tags))):
        name = "names" if nameless == 1 else "name"
        say(f"not listed: {count_of(nameless, 'module')} that {name} no base model; --fits BUNDLE tells more", err=True)
    for reason in dict.fromkeys(reasons.values()):
        names = [name for name, why in reasons.items() if why == reason]
        rest = f" and {len(names) - 1} more" if len(names) > 1 else ""
        say(f"does not fit: {names[0]}{rest}: {reason}", err=True)


@command.command("show")
@click.argument("name")
@store_option
@options.as_json
def show(name: str, store: str | None, as_json: bool) -> None:
    """Say what is known of a module, and where its folder lies."""
    hub = _existing(store)
    entry = hub.get(name)
    facts = entry_json(entry)
    if entry.kind == "adapter":
        from ..sharing.lineage import parts_of

        facts["parts"] = [part.json() for part in parts_of(hub, entry)]
    if as_json:
        say_json(facts)
        return
    parts = facts.pop("parts", [])
    width = max(map(len, facts))
    for key, value in facts.items():
        say(f"{key.replace('_', ' '):{width}}  {', '.join(value) if isinstance(value, list) else value}")
    if parts:
        columns = ["module", "weight", "in the store as"]
        rows = [(part["name"], f"{part['weight']:+.3f}", ", ".join(part["stored_as"])) for part in parts]
        options.print_table(columns, rows, numbers=False)


@command.command("remove")
@click.argument("names", nargs=-1, required=True, metavar="[NAME ...]")
@store_option
@options.as_json
def remove(names: tuple[str, ...], store: str | None, as_json: bool) -> None:
    """Remove modules by their names. Their files go with the last name that they have."""
    hub = _existing(store)
    for name in names:
        hub.get(name)  # before the first is removed
    removed: list[str] = []
    try:
        for name in dict.fromkeys(names):
            hub.remove(name)
            removed.append(name)
            if not as_json:
                say(f"removed: {name}")
    finally:
        if as_json:
            say_json({"removed": removed})


@command.command("publish")
@click.argument("name")
@click.option("--to", required=True, metavar="DIR|HUB_ID", help="A folder to make, or owner/name on the Hub.")
@click.option("--license", "license_", metavar="NAME", help="Its license.  [default: the one that all its parts have]")
@click.option("--private", is_flag=True, help="On the Hub: for yourself alone.")
@click.option(
    "--force",
    is_flag=True,
    help="Overwrite a published adapter, or add a commit on the Hub; a module's folder is left to you to remove.",
)
@store_option
@options.as_json
def publish(
    name: str, to: str, license_: str | None, private: bool, force: bool, store: str | None, as_json: bool
) -> None:
    """Publish a module or an adapter: a PEFT folder with a model card.

    The card says the base model, the composition, the weights by module, digests, the licenses of the parts where their
    cards are in the store, and how it is loaded with peft. owner/name is on the Hub, unless a folder `owner` is here.
    """
    from ..sharing.publishing import publish as published

    place = published(_existing(store), name, to, license=license_, force=force, private=private)
    if as_json:
        say_json({"name": name, "published": place})
    else:
        say(f"published: {place}")


@command.command("verify")
@store_option
@options.as_json
def verify(store: str | None, as_json: bool) -> None:
    """Compare all files with their digests, and remove what commands that died have left.

    The exit code is 2 where something is not what was added.
    """
    hub = _existing(store)
    problems = hub.verify()
    count = len(hub.list())
    if as_json:
        say_json({"modules": count, "problems": problems})
    for name, problem in problems.items():
        say(f"{name}: {problem}", err=True)
    if problems:
        raise StoreError(
            f"{count_of(len(problems), 'problem')} in {hub.path}: add these modules again, or `hub remove` them"
        )
    if not as_json:
        say(f"{count_of(count, 'module')}: all files match their digests")


def entry_json(entry: Entry) -> dict[str, Any]:
    """An entry's facts, for programs."""
    return {
        "name": entry.name,
        "kind": entry.kind,
        "base_model": entry.base_model,
        "task_type": entry.task_type,
        "layers": entry.layers,
        "layer_kinds": entry.layer_kinds.split(","),
        "ranks": entry.ranks.split(","),
        "parameters": entry.parameters,
        "size": entry.size,
        "tags": list(entry.tags),
        "source": entry.source,
        "added": entry.added,
        "sha256": entry.sha256,
        "folder": str(entry.folder),
    }

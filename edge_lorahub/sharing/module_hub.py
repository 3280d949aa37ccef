"""The local store of modules, as Python programs and the command line use it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..errors import NotWritableError, OutputFailedError, SettingsError, StoreError
from ..hub import rows
from ..hub.entry import Entry, Shapes, check_name
from ..hub.index import INDEX, OBJECTS, checked, reading, writing
from ..hub.objects import lying, problem_of
from ..hub.place import store_path
from ..hub.settling import settle
from ..lora.base_names import same_model
from . import choosing

if TYPE_CHECKING:
    from ..bundle.manifest import Manifest
    from ..examples.example import Example
    from ..lora.modules import Modules
    from .adding import Outcome, Wanted

T = TypeVar("T")


class Hub:
    """A folder of LoRA modules under names, safe for several processes (docs/explanation/hub.md).

    Adding, removing and verifying remove what commands that died have left.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        """path: the store's folder, which is made when something is added; None: EDGE_LORAHUB_HUB, or the user's own.

        Raises StoreError where it is a file.
        """
        self.path = store_path(path)

    def __repr__(self) -> str:
        return f"Hub({str(self.path)!r})"

    def check_exists(self) -> None:
        """Raises StoreError where there is no store yet, as in a folder that was misspelled."""
        with reading(self.path) as connection:
            if connection is None:
                raise StoreError(f"{self.path}: no store there; `edge-lorahub hub add` makes one")

    def add(
        self, sources: str | Path | Iterable[str | Path], *, name: str | None = None, tags: Iterable[str] = (),
        revision: str | None = None, examples: Sequence[Example] | None = None,
    ) -> tuple[Entry, ...]:  # fmt: skip
        """Stores modules: PEFT folders or Hub ids, and adapters that were learned here. Gives their entries.

        A module is called after its folder, or the last part of its Hub id; name: of a single one. examples: of what a
        single one was trained on, whose texts are kept to find it by (`modules(similar_to=)`). What is there under
        the same name with the same contents stays, and gets the tags as well. The other modules are stored where one
        cannot be: then StoreError says which, and of a single module the error is its own.
        """
        from .preparing import default_name

        listed = [sources] if isinstance(sources, (str, Path)) else _listed(sources)
        wanted = wanted_modules([(source, default_name(source)) for source in listed], name, revision, examples)
        outcomes = list(self.added(wanted, tags))
        errors = [outcome.error for outcome in outcomes if outcome.error is not None]
        if errors and len(wanted) == 1:
            raise errors[0]
        if errors:
            raise StoreError(f"{len(errors)} of {len(wanted)} modules were not added; the first: {errors[0]}")
        return self._of([outcome.wanted.name for outcome in outcomes])

    def added(
        self, wanted: Sequence[Wanted], tags: Iterable[str] = (), *, batch_size: int | None = None,
        at_once: int | None = None,
    ) -> Iterable[Outcome]:  # fmt: skip
        """As `add`, step by step: what became of each when it is on the disk.

        batch_size: modules that are named at once; at_once: those that are read. None: as many as suit local folders.
        """
        from .adding import AT_ONCE, BATCH, add

        return add(self.path, wanted, _tags(tags), batch_size=batch_size or BATCH, at_once=at_once or AT_ONCE)

    def tag(self, names: Iterable[str], tags: str | Iterable[str]) -> None:
        """Gives modules more tags. Raises StoreError where there is no such module."""
        entries, more = [self.get(name) for name in _texts(names)], _tags(tags)
        if not entries or not more:
            return
        with checked(self.path), writing(self.path) as connection:
            for entry in entries:
                if rows.key_of(connection, entry.name) is None:
                    raise StoreError(f"{entry.name}: not in the store ({self.path}) any more")
                rows.put_tags(connection, entry.name, more)

    def list(
        self, *, base: str | None = None, tags: str | Iterable[str] = (), fits: str | Path | None = None
    ) -> tuple[Entry, ...]:
        """Entries by name, by the index alone.

        base: of this base model, by its name without owner, capitals and precision. tags: that have all of these. fits:
        whose layers are slots of this bundle, and of the same shapes.
        """
        entries = self._of(None)
        if base is not None:
            entries = tuple(entry for entry in entries if same_model(entry.base_model, base))
        wanted = {*_tags(tags)}
        entries = tuple(entry for entry in entries if wanted <= set(entry.tags))
        if fits is None:
            return entries
        reasons = self.misfits(entries, _manifest(fits))
        return tuple(entry for entry in entries if entry.name not in reasons)

    def get(self, name: str) -> Entry:
        """A module's entry. Raises StoreError where there is none, and SettingsError for what is no name."""
        found = self._of([check_name(name)])
        if not found:
            raise StoreError(f"{name}: not in the store ({self.path}); `edge-lorahub hub list` has all names")
        return found[0]

    def shapes(self, entry: Entry) -> Shapes:
        """The module's linear layers: name -> (r, d_in, d_out). Raises StoreError where it was removed."""
        found = self._layouts().get(entry.layout)
        if found is None:
            raise StoreError(f"{entry.name}: not in the store ({self.path}) any more")
        return found

    def remove(self, name: str) -> None:
        """Removes a name; the module's files go with the last name of it. Raises StoreError where there is none."""
        entry = self.get(name)
        settle(self.path)
        with checked(self.path), writing(self.path) as connection:
            rows.remove_name(connection, entry.name)
        settle(self.path)

    def verify(self) -> dict[str, str]:
        """Compares every file with its digest. Gives what is wrong, by the module's name or the path in the store."""
        with suppress(NotWritableError, OutputFailedError):  # it can be read nevertheless
            if (self.path / INDEX).exists():
                settle(self.path)
        # before the index is read: what another command adds or removes meanwhile is known by then, or gone
        found = lying(self.path)
        with checked(self.path), reading(self.path) as connection:
            if connection is None:
                return {}
            names = rows.keys(connection)
            files = {key: rows.files(connection, key) for key in names}
            noted = {key for key, _ in rows.unsettled(connection)}
        problems: dict[str, str] = {}
        for key, called in names.items():
            problem = problem_of(self.path, key, files[key]) if files[key] else "the index has no files of it"
            if problem is not None and self._has(key):
                problems |= dict.fromkeys(called or [f"{OBJECTS}/{key}"], problem)
        for name in sorted({*found} - {*names} - noted):
            if os.path.lexists(self.path / OBJECTS / name):
                problems[f"{OBJECTS}/{name}"] = "not in the index"
        return problems

    def misfits(self, entries: Sequence[Entry], manifest: Manifest) -> dict[str, str]:
        """Why entries do not fit a bundle, by name; those that fit are not in it."""
        return choosing.misfits(entries, self._layouts(), manifest)

    def modules(
        self, names: Iterable[str] | None = None, *, base: str | None = None, tags: str | Iterable[str] = (),
        fits: str | Path | None = None, count: int | None = None, seed: int = 1,
        similar_to: Sequence[Example] | None = None,
    ) -> Modules:  # fmt: skip
        """Modules for `adapt`: of these names, or those that `list` gives.

        With a count so many of them, drawn with the seed, or with similar_to those whose name, tags, card and examples
        are most like these examples' texts. The files of no others are read. Raises StoreError for a module whose files
        are not those that were added.
        """
        chosen: Sequence[Entry]
        if names is not None:
            chosen = [self.get(name) for name in _texts(names)]
        else:
            chosen = self.list(base=base, tags=tags, fits=fits)
        if not chosen:
            raise StoreError(f"no such modules in the store ({self.path}); `edge-lorahub hub list` has all names")
        if similar_to is not None:
            if count is None:
                raise SettingsError("similar_to takes the most similar ones; give a count too")
            from .selecting import most_similar

            picked = most_similar(self.texts(chosen), similar_to, count, seed)
            return self.load([chosen[place] for place, _ in picked])
        return self.load(chosen if count is None else choosing.draw(chosen, count, seed))

    def texts(self, entries: Sequence[Entry]) -> Sequence[str]:
        """What is known of modules in words: name, tags, card, and examples that were given. No tensors are read."""
        from .descriptions import described, text_of

        with checked(self.path), reading(self.path) as connection:
            known = {} if connection is None else rows.texts(connection)
        found = []
        for entry in entries:
            said, examples = known.get(entry.name, (None, ""))
            card = described(entry.folder) if said is None else said
            found.append(text_of(entry.name, entry.tags, card, examples))
        return found

    def load(self, entries: Sequence[Entry]) -> Modules:
        """The modules of entries, whose files are compared with their digests. Raises StoreError."""
        from ..lora.modules import Modules

        with checked(self.path), reading(self.path) as connection:
            files = [() if connection is None else rows.files(connection, entry.key) for entry in entries]
        for entry, expected in zip(entries, files, strict=True):
            problem = problem_of(self.path, entry.key, expected) if expected else "it was removed"
            if problem is not None:
                raise StoreError(
                    f"{entry.name}: not the module that was added: {problem}; add it again, or `hub remove` it"
                )
        loaded = Modules.named([(entry.name, entry.folder) for entry in entries])
        for entry, module in zip(entries, loaded, strict=True):
            if module.sha256 != entry.sha256:
                raise StoreError(f"{entry.name}: not the module that was added, by its numbers; `hub remove` it")
        return loaded

    def names_of(self, sha256: str) -> Sequence[str]:
        """The names of modules with this `Module.sha256`."""
        with checked(self.path), reading(self.path) as connection:
            return [] if connection is None else rows.names_of(connection, sha256)

    def _of(self, names: Sequence[str] | None) -> tuple[Entry, ...]:
        with checked(self.path), reading(self.path) as connection:
            return () if connection is None else tuple(rows.entries(connection, self.path, names))

    def damaged(self, entries: Sequence[Entry]) -> set[str]:
        """The names of those whose files are not what was added."""
        with checked(self.path), reading(self.path) as connection:
            files = [() if connection is None else rows.files(connection, entry.key) for entry in entries]
        pairs = zip(entries, files, strict=True)
        return {one.name for one, expected in pairs if not expected or problem_of(self.path, one.key, expected)}

    def _layouts(self) -> dict[str, Shapes]:
        with checked(self.path), reading(self.path) as connection:
            return {} if connection is None else rows.layouts(connection)

    def _has(self, key: str) -> bool:
        """Another command may have removed it since."""
        with checked(self.path), reading(self.path) as connection:
            return connection is not None and rows.has_object(connection, key)


def wanted_modules(
    named: Sequence[tuple[str | Path, str]], name: str | None = None, revision: str | None = None,
    examples: Sequence[Example] | None = None,
) -> list[Wanted]:  # fmt: skip
    """Sources and what to call them, checked. name, in the place of the other, and examples: of a single one."""
    from .adding import Wanted
    from .descriptions import examples_text

    if not named:
        raise SettingsError("no modules; name at least one PEFT folder or Hub id")
    if name is not None and len(named) > 1:
        raise SettingsError(f"a name is for one module, and there are {len(named)}; leave it out")
    if examples is not None and len(named) > 1:
        raise SettingsError(f"examples are of one module, and there are {len(named)}; add them one after the other")
    text = None if examples is None else examples_text(examples)
    found: dict[str, Wanted] = {}
    for source, usual in named:
        checked_name = check_name(usual if name is None else name)
        if checked_name in found:
            raise SettingsError(
                f"{source} and {found[checked_name].source} would both be called {checked_name!r}; add them one "
                "after the other, with names (`hub add --name`)"
            )
        found[checked_name] = Wanted(source, checked_name, revision, text)
    return [*found.values()]


def _texts(texts: str | Iterable[str]) -> list[str]:
    """A single text is a sequence too, of letters."""
    return [texts] if isinstance(texts, str) else _listed(texts)


def _listed(things: Iterable[T]) -> list[T]:
    if not isinstance(things, Iterable):
        raise SettingsError(f"a list was expected, got {things!r:.80}")
    return list(things)


def _tags(tags: str | Iterable[str]) -> Sequence[str]:
    return [check_name(tag, "a tag") for tag in _texts(tags)]


def _manifest(bundle: str | Path) -> Manifest:
    from ..bundle.manifest import read_manifest
    from ..files.user_path import user_path

    return read_manifest(user_path(bundle))

"""A set of LoRA modules that are to be composed."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..bundle.architectures import TASK_TYPES
from ..bundle.manifest import Manifest
from ..errors import EdgeLorahubWarning, ModuleMismatchError, SettingsError
from ..files.user_path import user_path
from ..messages import some_of
from .base_names import may_be_same
from .loading import load_module, module_path
from .module import Module

# Modules that are read at once.
_AT_ONCE = 4


class Modules(Sequence[Module]):
    """Modules under distinct names, in the order in which they were named."""

    def __init__(self, modules: Sequence[Module]) -> None:
        if isinstance(modules, (str, Path)) or not isinstance(modules, Iterable):
            raise SettingsError(f"modules must be a list of Module, got {modules!r:.80}; Modules.load reads folders")
        modules = list(modules)
        for module in modules:
            if not isinstance(module, Module):
                raise SettingsError(
                    f"modules must be a list of Module, got {module!r:.80} in it; Modules.load reads folders"
                )
        if not modules:
            raise SettingsError("no modules; name at least one LoRA module")
        repeated = [name for name, count in Counter(m.name for m in modules).items() if count > 1]
        if repeated:
            raise SettingsError(f"two modules are called {repeated[0]!r}; give them different names")
        self._modules = tuple(modules)

    @classmethod
    def load(cls, sources: str | Path | Iterable[str | Path], *, revision: str | None = None) -> Modules:
        """Reads the modules' settings and checks their files; the matrices stay on disk.

        sources are PEFT folders, Hub ids, folders of mlx_lm's adapters, or files or folders of ONNX Runtime's; a single
        one may stand alone. A module is called after its folder; folders
        of the same name (`task-a/checkpoint-10`, `task-b/checkpoint-10`) get as much of their path as tells them apart.
        Warns about modules that are the same, whatever their files are called. Raises what `load_module` raises.
        """
        return cls.named(named_paths(sources, revision))

    @classmethod
    def named(cls, folders: Sequence[tuple[str, Path]]) -> Modules:
        """As `load`, of PEFT folders and what to call them: (name, folder)."""
        # most of the time goes into the modules' digests, which several threads compute at once
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            loaded = cls(list(pool.map(lambda pair: load_module(pair[1], name=pair[0]), folders)))
        loaded._warn_about_copies()
        return loaded

    def __add__(self, others: object) -> Modules:
        """These and others, under distinct names. Warns about modules that both have."""
        if not isinstance(others, Modules):
            return NotImplemented
        joined = Modules([*self, *others])
        joined._warn_about_copies({module.sha256 for module in self} & {module.sha256 for module in others})
        return joined

    def __len__(self) -> int:
        return len(self._modules)

    def __getitem__(self, index: int) -> Module:  # type: ignore[override]  # slices are not needed
        return self._modules[index]

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules)

    @property
    def names(self) -> list[str]:
        return [module.name for module in self._modules]

    def check(self, manifest: Manifest) -> None:
        """Checks that every module fits a bundle.

        Raises ModuleMismatchError for a layer that is not a slot, or has another shape. Another base model's
        name is a warning: names are free text, shapes are not. So is a module that is baked into the bundle already.
        """
        self.check_fit(manifest)
        for module in self._modules:
            warn_if_baked(module.name, module.sha256, manifest)

    def check_fit(self, manifest: Manifest) -> None:
        """As `check`, but for what is baked in."""
        for module in self._modules:
            check_fit(module.shapes, str(module.folder), manifest)
        wanted = TASK_TYPES[manifest.architecture]
        if others := [m.name for m in self._modules if m.task_type not in (wanted, None)]:
            warnings.warn(
                f"their layers fit, but adapter_config.json does not say {wanted!r} (task_type), as modules for "
                f"{manifest.architecture} models do: {some_of(others)}",
                EdgeLorahubWarning,
                stacklevel=2,
            )
        strangers: dict[str, list[str]] = {}
        for module in self._modules:
            if not may_be_same(module.base_model, manifest.model.base_model):
                strangers.setdefault(module.base_model, []).append(module.name)
        for base, names in strangers.items():
            warnings.warn(
                f"trained on {base!r}, says adapter_config.json, but the bundle is of {manifest.model.base_model!r}: "
                f"{some_of(names)}",
                EdgeLorahubWarning,
                stacklevel=2,
            )

    def _warn_about_copies(self, digests: Container[str] | None = None) -> None:
        """digests: those to look at; None: all."""
        by_digest: dict[str, list[str]] = {}
        for module in self._modules:
            if digests is None or module.sha256 in digests:
                by_digest.setdefault(module.sha256, []).append(module.name)
        for names in by_digest.values():
            if len(names) > 1:
                warnings.warn(
                    f"the same module, to the last number, under several names: {some_of(names)}",
                    EdgeLorahubWarning,
                    stacklevel=3,
                )


def named_paths(sources: str | Path | Iterable[str | Path], revision: str | None = None) -> list[tuple[str, Path]]:
    """What modules are called, and where they lie, by what `Modules.load` takes; what has to be fetched is fetched."""
    sources = _checked(sources)
    names = _names(sources)
    # of a revision that is for some of them, local folders are not
    local = [user_path(source).exists() for source in sources]
    revisions = [None if here and not all(local) else revision for here in local]
    return list(zip(names, map(module_path, sources, revisions), strict=True))


def check_fit(shapes: Mapping[str, tuple[int, int, int]], where: str, manifest: Manifest) -> None:
    """Checks that layers (name -> (r, d_in, d_out)) are slots of the bundle, and of the same shapes."""
    slots = {slot.name: slot for slot in manifest.slots}
    kinds = manifest.kinds()
    base = manifest.model.base_model
    for layer, (rank, d_in, d_out) in shapes.items():
        slot = slots.get(layer)
        if slot is None:
            raise ModuleMismatchError(
                f"{where}: {layer} is not a slot of the bundle, which has {','.join(kinds)} of {base!r}; "
                + _why_no_slot(layer, shapes, manifest)
            )
        for side, found, wanted in (
            ("A", (rank, d_in), (rank, slot.d_in)),
            ("B", (d_out, rank), (slot.d_out, rank)),
        ):
            if found != wanted:
                raise ModuleMismatchError(
                    f"{where}: tensor {layer}.lora_{side} has shape {found}, but the bundle of {base!r} takes "
                    f"{wanted}; the module is for another model"
                )


def _why_no_slot(layer: str, layers: Iterable[str], manifest: Manifest) -> str:
    """layers: all of the module."""
    kinds = manifest.kinds()
    missing = {name.rpartition(".")[2] for name in layers}.intersection(manifest.slot_kinds).difference(kinds)
    if layer.rpartition(".")[2] in missing:
        return f"export it again with --slots {','.join([*kinds, *sorted(missing)])}"
    inner = next((slot.name for slot in manifest.slots if layer.endswith(f".{slot.name}")), None)
    if inner is not None:
        wrapper = layer.removesuffix(f".{inner}")
        return f"{wrapper!r} is of a model around the one that was trained; save the inner model's adapter"
    return "the module is for another model, or for a layer that cannot be a slot"


def warn_if_baked(name: str, sha256: str, manifest: Manifest) -> None:
    """Warns about what is in the bundle's weights already. sha256 is the `lora.identity` of what is called name."""
    for baked in manifest.baked:
        if baked.sha256 == sha256:
            known = "" if baked.name == name else f" as {baked.name!r}"
            warnings.warn(
                f"{name}: baked into this bundle already{known}, so its change counts twice; leave it out, or take "
                "the bundle that it was baked into",
                EdgeLorahubWarning,
                stacklevel=3,
            )
            return


def _checked(sources: object) -> list[str | Path]:
    """Folders and Hub ids; a text is a sequence too, of letters, and is one of them."""
    if isinstance(sources, (str, Path)):
        return [sources]
    if not isinstance(sources, Iterable):
        raise SettingsError(f"modules must be folders or Hub ids, got {sources!r:.80}")
    found = list(sources)
    for source in found:
        if not isinstance(source, (str, Path)):
            raise SettingsError(f"modules must be folders or Hub ids, got {source!r:.80} among them")
    return found


def _names(sources: Sequence[str | Path]) -> list[str]:
    """The Hub id, or the folder's name, with as much of its path before it as tells it from others of that name."""
    paths = [user_path(source).resolve() if user_path(source).exists() else None for source in sources]
    names: list[str] = []
    for path, source in zip(paths, sources, strict=True):
        if path is None:
            names.append(str(source))
            continue
        if paths.count(path) > 1:
            raise SettingsError(f"{path}: the same module twice")
        twins = [p for p in paths if p is not None and p != path and p.name == path.name]
        depth = 1
        while any(p.parts[-depth:] == path.parts[-depth:] for p in twins):
            depth += 1
        names.append("/".join(path.parts[-depth:]))
    return names

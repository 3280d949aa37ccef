"""`gguf-lora`: a LoRA that llama.cpp applies to its own GGUF of the base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_lorahub.bundle.architectures import DECODER_ONLY, TASK_TYPES
from edge_lorahub.bundle.manifest import read_manifest
from edge_lorahub.composition.adapter import Adapter
from edge_lorahub.convert.converted_folder import converted_folder
from edge_lorahub.errors import BundleError, CheckpointError, ModuleMismatchError
from edge_lorahub.files.user_path import user_path
from edge_lorahub.lora.modules import check_fit

from .families import find_family
from .families.decoder_family import DecoderFamily
from .gguf.gguf_lora import check_gguf, write_gguf_lora
from .merging.layers import warn_of_other_base
from .open_source import is_on_the_hub, open_source

FILE = "adapter.gguf"


@dataclass(frozen=True)
class _Model:
    model_type: str
    heads: int
    kv_heads: int
    base_model: str


def to_gguf_lora(
    adapter: Adapter,
    out: Path,
    *,
    bundle: str | Path | None = None,
    base: str | Path | None = None,
    revision: str | None = None,
    force: bool = False,
    facts: Mapping[str, object] | None = None,
) -> None:
    """Writes FILE into a folder, for a model that is named by its bundle or its checkpoint (or GGUF file).

    Only the model's settings are read, and of a local model looked at before the package is needed. Raises
    MissingDependencyError without the package gguf, ModuleMismatchError for an adapter that does not fit, BundleError
    or CheckpointError for a model that is not decoder-only, or what `converted_folder` raises.
    """
    adapter.check()
    if bundle is None and is_on_the_hub(str(base)):
        check_gguf()  # before the download
    model = _of_base(adapter, str(base), revision) if bundle is None else _of_bundle(adapter, bundle)
    check_gguf()
    with converted_folder(out, "gguf-lora", adapter, force=force, facts=facts) as work:
        write_gguf_lora(
            work / FILE, adapter.pairs, model_type=model.model_type, heads=model.heads, kv_heads=model.kv_heads,
            name=adapter.name, base_model=model.base_model,
        )  # fmt: skip


def _of_bundle(adapter: Adapter, bundle: str | Path) -> _Model:
    manifest = read_manifest(user_path(bundle))
    if manifest.architecture != DECODER_ONLY:
        raise BundleError(
            f"{bundle}: {manifest.model.family}, an {manifest.architecture}; gguf-lora is for {DECODER_ONLY} models"
        )
    if manifest.baked:
        raise BundleError(
            f"{bundle}: {manifest.baked[0].name} is baked into its weights, which the GGUF file of the base has not; "
            "name the bundle without it"
        )
    check_fit(adapter.shapes, adapter.name, manifest)
    model = manifest.model
    return _Model(model.family, model.heads, model.kv_heads, model.base_model)


def _of_base(adapter: Adapter, base: str, revision: str | None) -> _Model:
    source = open_source(base, revision)
    family = find_family(source.config, source.config_path)
    if not isinstance(family, DecoderFamily):
        raise CheckpointError(
            f"{base}: {family.model_types[0]}, an {family.architecture}; gguf-lora is for {DECODER_ONLY} models"
        )
    config = family.read(source.config, source.config_path)
    warn_of_other_base(adapter, source.base_model, TASK_TYPES[DECODER_ONLY], source.path)
    slots = {slot.name: (slot.d_in, slot.d_out) for slot in config.slots()}
    for layer, (_, *sides) in adapter.shapes.items():
        if slots.get(layer) != tuple(sides):
            found = slots.get(layer)
            what = "no such layer" if found is None else f"that layer from {found[0]} to {found[1]}"
            raise ModuleMismatchError(
                f"{adapter.name}: {layer} from {sides[0]} to {sides[1]}, but {source.path} has {what}; the adapter is "
                "for another model"
            )
    return _Model(config.model_type, config.heads, config.kv_heads, source.base_model)

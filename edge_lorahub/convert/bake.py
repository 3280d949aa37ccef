"""Baking: a copy of a bundle with an adapter merged into its weights, W += delta, which then runs as fast as
the plain model and needs no LoRA inputs."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..bundle.graph_check import check_graph_files
from ..bundle.graphs import lora_a_name, lora_b_name, lora_scale_name
from ..bundle.manifest import BUNDLE_FILES, MANIFEST, WEIGHTS, Baked, Manifest, Slot, read_manifest
from ..bundle.weights_sample import sample_digest
from ..composition.adapter import Adapter
from ..composition.inputs import Float32, used_slots
from ..composition.kernels import merge_dense
from ..composition.prompt_record import warn_of_other_prompt
from ..errors import BundleError, ModuleFileError, SettingsError
from ..files.outputs import check_digests, check_output_folder, output_folder, sha256
from ..files.user_path import user_path


def bake(bundle: str | Path, adapter: Adapter, out: str | Path, *, force: bool = False) -> Manifest:
    """Writes a bundle whose plain model is the given bundle with the adapter.

    The weights are copied and changed in place through a memory map, one slot at a time. The manifest says what is
    baked in. Warns of an adapter that is already, and of one that was learned with another prompt than the bundle's,
    which the copy keeps. Raises BundleError, SettingsError, ModuleFileError, ModuleMismatchError, MissingPathError or
    OutputExistsError.
    """
    if not isinstance(adapter, Adapter):
        raise SettingsError(f"an adapter must be an Adapter, got {adapter!r:.80}; load_adapter makes one of a folder")
    source = user_path(bundle)
    manifest = read_manifest(source)
    if manifest.precision != "fp32":
        raise BundleError(
            f"{source}: {manifest.precision} weights, into which no adapter can be merged; `edge-lorahub "
            "convert --to bundle --base CHECKPOINT` makes a bundle with it anew, or bake into one that is in fp32"
        )
    out = user_path(out)
    if out.resolve() == source.resolve():
        raise SettingsError(f"{out}: the bundle itself; baking makes a copy, so name another folder")
    check_output_folder(out, force=force, names=BUNDLE_FILES)
    # a map of a file that is too short would make it longer, and bake into nothing
    check_digests(source, manifest.sha256)
    # before anything is written where the manifest says that a slot's weight is
    check_graph_files(source, manifest, manifest.graph_files)
    inputs = adapter.inputs(manifest)
    warn_of_other_prompt(adapter, manifest.prompt)
    with output_folder(out, force=force, names=BUNDLE_FILES) as work:
        for name in manifest.files:
            shutil.copyfile(source / name, work / name)
        for slot in used_slots([adapter], manifest.slots):
            _merge(work / WEIGHTS, slot, inputs.arrays, adapter.name)
        baked = replace(
            manifest,
            sha256=manifest.sha256 | {WEIGHTS: sha256(work / WEIGHTS)},
            baked=(*manifest.baked, Baked(adapter.name, adapter.sha256)),
            weights_sample=sample_digest(work / WEIGHTS),
        )
        (work / MANIFEST).write_text(baked.to_json(), encoding="utf-8")
    return baked


def _merge(weights: Path, slot: Slot, arrays: Mapping[str, Float32], adapter: str) -> None:
    a, scale, b = (arrays[name(slot.name)] for name in (lora_a_name, lora_scale_name, lora_b_name))
    shape = (slot.d_in, slot.d_out)
    weight: Float32 = np.memmap(weights, np.float32, "r+", offset=slot.weight_offset, shape=shape)
    with np.errstate(over="ignore", invalid="ignore"):
        merge_dense(weight, a, scale, b)
    if not np.isfinite(weight).all():
        raise ModuleFileError(
            f"{slot.name}: with {adapter} in it, the weight has numbers that are not finite in float32; the adapter's "
            "are too large, or the bundle's are not finite either"
        )
    weight.flush()  # type: ignore[attr-defined]  # a memmap, typed by what it holds

"""`bundle`: a bundle with the adapter in its weights, also in int8, which is quantized anew from the checkpoint."""

from __future__ import annotations

import warnings
from pathlib import Path

from edge_lorahub.bundle.manifest import TOKENIZER, WEIGHTS, Manifest, read_manifest
from edge_lorahub.composition.adapter import Adapter
from edge_lorahub.convert.bake import bake
from edge_lorahub.errors import BundleError, EdgeLorahubWarning, SettingsError
from edge_lorahub.files.outputs import scratch_folder
from edge_lorahub.files.user_path import user_path
from edge_lorahub.lora.modules import check_fit

from .bundle_writer import export


def to_bundle(
    adapter: Adapter,
    bundle: str | Path,
    out: Path,
    *,
    base: str | Path | None = None,
    revision: str | None = None,
    force: bool = False,
) -> Manifest:
    """Writes a bundle that answers as the given one does with the adapter.

    In fp32 the bundle's own weights are changed, as `bake` does. In int8 they cannot be: base, the checkpoint that the
    bundle was exported from, is exported again with the adapter in its weights, with the same slots and prompt. That it
    is this checkpoint is made sure of first, by an export without the adapter beside the output, which must have the
    bundle's weights to the last bit. Raises SettingsError without a base in int8 and with one in fp32, BundleError for
    another checkpoint and for a bundle with something baked in, and what `export` and `bake` raise.
    """
    folder = user_path(bundle)
    manifest = read_manifest(folder)
    if manifest.precision == "fp32":
        if base is not None:
            raise SettingsError(f"{bundle}: in fp32 its own weights are changed, so --base is not needed; leave it out")
        return bake(folder, adapter, out, force=force)
    if base is None:
        raise SettingsError(
            f"{bundle}: in {manifest.precision}, and rounded weights cannot take an adapter; name the checkpoint that "
            "it was exported from with --base, which is quantized anew with the adapter in it"
        )
    if manifest.baked:
        raise BundleError(
            f"{bundle}: {manifest.baked[0].name} is baked into its weights, which the checkpoint's have not; name the "
            "bundle without it"
        )
    check_fit(adapter.shapes, adapter.name, manifest)
    _check_same(manifest, folder, base, out, revision)
    return export(
        base, out, slots=manifest.kinds(), precision=manifest.precision, prompt=manifest.prompt, adapter=adapter,
        revision=revision, force=force,
    )  # fmt: skip


def _check_same(manifest: Manifest, folder: Path, base: str | Path, out: Path, revision: str | None) -> None:
    with scratch_folder(out) as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeLorahubWarning)  # the export that stays gives them
        again = export(
            base, scratch / "bundle", slots=manifest.kinds(), precision=manifest.precision, prompt=manifest.prompt,
            revision=revision,
        )  # fmt: skip
    for name in (WEIGHTS, TOKENIZER):
        if again.sha256[name] != manifest.sha256[name]:
            raise BundleError(
                f"{folder}: its {name} is not what an export of {base} gives; either that is another checkpoint, or "
                f"another version of edge-lorahub ({manifest.tool_version}) wrote the bundle: export it again"
            )

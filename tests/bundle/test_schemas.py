"""What is written follows the schemas in docs/reference."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from schemas import validator

from edge_lorahub.bundle.manifest import MANIFEST
from edge_lorahub.composition.adapter import load_adapter
from edge_lorahub.convert.bake import bake
from edge_lorahub.export import export


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_manifest(checkpoint: Path, tmp_path: Path, precision: str) -> None:
    export(checkpoint, tmp_path / "bundle", precision=precision)
    manifest = json.loads((tmp_path / "bundle" / MANIFEST).read_text())
    validator("manifest.schema.json").validate(manifest)
    del manifest["prompt"]["lead"]
    with pytest.raises(jsonschema.ValidationError, match="'lead' is a required property"):
        validator("manifest.schema.json").validate(manifest)


def test_the_manifest_of_a_baked_bundle(bundle: Path, module_folders: list[Path], tmp_path: Path) -> None:
    bake(bundle, load_adapter(module_folders[0]), tmp_path / "baked")
    manifest = json.loads((tmp_path / "baked" / MANIFEST).read_text())
    assert len(manifest["baked"]) == 1
    validator("manifest.schema.json").validate(manifest)

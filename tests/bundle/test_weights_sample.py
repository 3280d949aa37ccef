"""The sample of a bundle's weights: other weights, and parts that were never written, are refused at load."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from edge_lorahub import load, load_adapter
from edge_lorahub.bundle.manifest import MANIFEST, WEIGHTS, read_manifest
from edge_lorahub.bundle.weights_sample import sample_digest
from edge_lorahub.convert.bake import bake
from edge_lorahub.errors import BundleError

WRONG = "weights.bin: not the weights that the manifest says: another bundle's, or damaged; copy it again"


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


def test_other_weights_of_the_same_size(
    copy: Path, bundle: Path, module_folders: list[Path], tmp_path: Path, fails: Callable[..., str],
    run: Callable[..., Result],
) -> None:  # fmt: skip
    """Those of a bundle with an adapter baked in, for example."""
    bake(bundle, load_adapter(module_folders[0]), tmp_path / "baked")
    load(tmp_path / "baked", threads=1)
    shutil.copy(tmp_path / "baked" / WEIGHTS, copy / WEIGHTS)
    assert WRONG in fails("generate", copy, "w3")
    # a bundle of before there were samples is read as it was then
    manifest = json.loads((copy / MANIFEST).read_text())
    del manifest["weights_sample"]
    (copy / MANIFEST).write_text(json.dumps(manifest))
    assert run("generate", copy, "w3").exit_code == 0


@pytest.mark.parametrize("change", ["zeros", "shorter", "longer", "empty"])
def test_weights_that_were_copied_in_part(copy: Path, change: str) -> None:
    data = (copy / WEIGHTS).read_bytes()
    third = len(data) // 3
    (copy / WEIGHTS).write_bytes(
        {"zeros": data[:third] + bytes(third) + data[2 * third :], "shorter": data[:-1], "longer": data + b"\0",
         "empty": b""}[change]
    )  # fmt: skip
    with pytest.raises(BundleError, match=WRONG):
        load(copy, threads=1)


@pytest.mark.parametrize("value", [3, "", "x" * 64, "A" * 64, [], True])
def test_a_sample_that_is_none_is_refused(copy: Path, value: object) -> None:
    manifest = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps(manifest | {"weights_sample": value}))
    with pytest.raises(BundleError, match="weights_sample is"):
        read_manifest(copy)


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 300_000, 5_000_000])
def test_a_sample_is_of_the_size_the_ends_and_the_middle(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    data = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    data.tofile(path)
    sampled = sample_digest(path)
    assert sample_digest(path) == sampled
    for place in (0, size // 2 if size < 100_000 else 0, size - 1) if size else ():
        changed = data.copy()
        changed[place] ^= 1
        changed.tofile(path)
        assert sample_digest(path) != sampled
    np.append(data, np.uint8(0)).tofile(path)
    assert sample_digest(path) != sampled

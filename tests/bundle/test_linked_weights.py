"""Bundles of which files are links: the Hub's cache, and weights that are kept elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_lorahub import generate, load
from edge_lorahub.bundle.graphs import Variant
from edge_lorahub.bundle.manifest import WEIGHTS
from edge_lorahub.errors import BundleError

TEXTS = ["w5 w6 w7", "w20 w21"]


def cache(bundle: Path, folder: Path) -> Path:
    """As huggingface_hub lays it out: every file a link to one of another name, in another folder."""
    (folder / "blobs").mkdir(parents=True)
    (folder / "snapshots" / "main").mkdir(parents=True)
    for index, file in enumerate(bundle.iterdir()):
        shutil.copyfile(file, folder / "blobs" / f"{index:040x}")
        (folder / "snapshots" / "main" / file.name).symlink_to(Path("../../blobs") / f"{index:040x}")
    return folder / "snapshots" / "main"


def elsewhere(bundle: Path, folder: Path) -> Path:
    """The weights alone are a link."""
    shutil.copytree(bundle, folder)
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to(bundle / WEIGHTS)
    return folder


def whole(bundle: Path, folder: Path) -> Path:
    folder.symlink_to(bundle)
    return folder


@pytest.mark.parametrize("lora_type", ["none", "float32"])
@pytest.mark.parametrize("layout", [cache, elsewhere, whole])
def test_answers_are_those_of_the_bundle(
    layout: Callable[[Path, Path], Path], lora_type: str, bundle: Path, tmp_path: Path
) -> None:
    expected = generate(load(bundle, threads=1), TEXTS)
    linked = load(layout(bundle, tmp_path / "linked"), threads=1)
    # a text is answered with the graphs that are there
    linked.sessions(linked.manifest.graph("generate", Variant(lora_type)))
    assert generate(linked, TEXTS) == expected


def test_a_link_to_nothing(bundle: Path, tmp_path: Path) -> None:
    folder = elsewhere(bundle, tmp_path / "linked")
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to(tmp_path / "nothing")
    with pytest.raises(BundleError, match=r"weights\.bin is missing"):
        load(folder)

"""The demonstration's bundle in the user's cache: whatever has become of it, the next run has a whole one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from edge_lorahub.bundle.manifest import BUNDLE_FILES, MANIFEST, WEIGHTS
from edge_lorahub.cli import demo_bundle
from edge_lorahub.cli.demo_bundle import SEAL, base_bundle
from edge_lorahub.errors import OutputFailedError


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle as it was made. Not to be changed: copy it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return base_bundle()


@pytest.fixture
def cached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, whole: Path) -> Path:
    """A copy of it in a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return Path(shutil.copytree(whole, tmp_path / "edge-lorahub" / whole.name))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def another_file(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: list[Callable[[Path], None]] = [
    a_bit,
    another_file,
    Path.unlink,
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(path.read_bytes()[:-1]),
]


@pytest.mark.parametrize("name", [MANIFEST, "decoder.onnx", WEIGHTS, "tokenizer.json", SEAL])
def test_every_damage_of_every_file_is_mended(cached: Path, whole: Path, name: str) -> None:
    for damage in DAMAGES:
        damage(cached / name)
        assert base_bundle() == cached
        assert contents(cached) == contents(whole)
        assert [path.name for path in cached.parent.iterdir()] == [cached.name]


def test_all_files_are_verified(whole: Path) -> None:
    record = json.loads((whole / MANIFEST).read_text())
    assert {path.name for path in whole.iterdir()} == {*record["sha256"], MANIFEST, SEAL}
    assert set(record["sha256"]) < set(BUNDLE_FILES)


def test_a_manifest_that_was_changed_and_still_reads_is_mended(cached: Path, whole: Path) -> None:
    record = json.loads((cached / MANIFEST).read_text())
    record["model"]["pad_token_id"] += 1
    (cached / MANIFEST).write_text(json.dumps(record))
    assert contents(base_bundle()) == contents(whole)


def test_a_whole_one_is_not_made_again(cached: Path) -> None:
    before = (cached / WEIGHTS).stat().st_ino
    assert base_bundle() == cached
    assert (cached / WEIGHTS).stat().st_ino == before


@pytest.mark.parametrize("damage", [shutil.rmtree, lambda path: (shutil.rmtree(path), path.write_text("a file"))])
def test_what_lies_in_its_place_is_replaced(cached: Path, whole: Path, damage: Callable[[Path], object]) -> None:
    damage(cached)
    assert contents(base_bundle()) == contents(whole)


def test_a_cache_on_a_full_disk_is_done_without(cached: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_bit(cached / WEIGHTS)
    real = demo_bundle._make

    def full(out: Path, source: Path, settings: Mapping[str, Any]) -> None:
        if out == cached:
            raise OutputFailedError("no space")
        real(out, source, settings)

    monkeypatch.setattr(demo_bundle, "_make", full)
    found = base_bundle()
    assert found != cached
    assert contents(found) == contents(whole)

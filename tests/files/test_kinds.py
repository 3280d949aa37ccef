"""What a folder is, and that what is told apart is what the readers look for."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_lorahub.bundle.manifest import MANIFEST
from edge_lorahub.files.kinds import SIGNS, kind_of, not_a_bundle, not_a_module
from edge_lorahub.lora.peft_config import CONFIG


def test_the_signs_are_the_readers_files() -> None:
    assert (SIGNS["bundle"], SIGNS["module"]) == (MANIFEST, CONFIG)


def test_every_kind(checkpoint: Path, bundle: Path, module_folders: list[Path], tmp_path: Path) -> None:
    found = [kind_of(folder) for folder in (bundle, module_folders[0], checkpoint, tmp_path, tmp_path / "nothing")]
    assert found == ["bundle", "module", "checkpoint", None, None]


def test_the_lines_of_what_is_none(tmp_path: Path, examples_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no such file; a LoRA module is a folder of PEFT or mlx_lm that has it" in not_a_module(tmp_path)
    assert "not a bundle (no manifest.json)" in not_a_bundle(tmp_path)
    assert "a file, where a bundle's folder was expected" in not_a_bundle(examples_file)
    assert "export SOURCE" in not_a_bundle(tmp_path / "nothing")
    # a path below a folder that is there is a mistyped one, and no Hub id
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    assert "export SOURCE" in not_a_bundle(Path("models/nothing"))

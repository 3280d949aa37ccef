"""A conversion that cannot be is refused for what is wrong with it, before a package is asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Fails = Callable[..., str]


@pytest.fixture(autouse=True)
def _without(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("gguf", "torch", "optimum", "optimum.exporters.onnx"):
        monkeypatch.setitem(sys.modules, name, None)


def test_gguf_lora(fails: Fails, bundle: Path, checkpoint: Path, module_folders: list[Path], tmp_path: Path) -> None:
    convert = ("convert", module_folders[0], "--to", "gguf-lora", "--out", tmp_path / "out")
    assert "gguf-lora is for decoder-only models" in fails(*convert, "--bundle", bundle)
    assert "gguf-lora is for decoder-only models" in fails(*convert, "--base", checkpoint)
    assert "no such folder" in fails(*convert, "--base", tmp_path / "none" / "deep" / "er")
    assert not (tmp_path / "out").exists()


def test_optimum(fails: Fails, checkpoint: Path, module_folders: list[Path], tmp_path: Path) -> None:
    convert = ("convert", module_folders[0], "--to", "optimum", "--out", tmp_path / "out")
    assert "no such folder" in fails(*convert, "--base", tmp_path / "none" / "deep" / "er")
    assert "edge-lorahub[optimum]" in fails(*convert, "--base", checkpoint)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".edge*"))


@pytest.mark.parametrize("form", ["gguf-lora", "optimum"])
def test_nothing_is_downloaded_for_a_package_that_is_not_there(
    form: str, fails: Fails, module_folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(*_: object, **__: object) -> str:
        raise AssertionError("a download")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    line = fails("convert", module_folders[0], "--to", form, "--base", "owner/name", "--out", tmp_path / "out")
    assert f"edge-lorahub[{form.removesuffix('-lora')}]" in line

"""What `convert --to onnx-adapter` writes is read again as the module that it was, and as nothing less."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge_lorahub.cli.main import cli
from edge_lorahub.errors import EdgeLorahubWarning, ModuleFileError
from edge_lorahub.lora.loading import load_module


@pytest.fixture(scope="module")
def converted(
    bundle: Path, module_folders: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], Path]:
    top = tmp_path_factory.mktemp("converted")

    def make(place: int) -> Path:
        out = top / str(place)
        if not out.exists():
            arguments = ["convert", module_folders[place], "--to", "onnx-adapter", "--bundle", bundle]
            result = CliRunner().invoke(cli, [*map(str, arguments), "--out", str(out)])
            assert result.exit_code == 0, result.output
        return out

    return make


def test_the_folder_is_the_module(converted: Callable[[int], Path], module_folders: list[Path]) -> None:
    module, before = load_module(converted(0)), load_module(module_folders[0])
    assert module.sha256 == before.sha256
    assert module.base_model


@pytest.mark.parametrize("name", ["encoder.onnx_adapter", "decoder.onnx_adapter"])
def test_one_of_two_files_is_half_a_module(converted: Callable[[int], Path], name: str, tmp_path: Path) -> None:
    with pytest.raises(ModuleFileError, match="name the folder"):
        load_module(converted(0) / name)
    alone = tmp_path / name
    shutil.copy(converted(0) / name, alone)
    with pytest.warns(EdgeLorahubWarning, match=f"layers of the {name.split('.')[0]} alone"):
        load_module(alone)


def test_a_folder_that_is_not_whole_is_refused(converted: Callable[[int], Path], tmp_path: Path) -> None:
    half, mixed = tmp_path / "half", tmp_path / "mixed"
    shutil.copytree(converted(0), half)
    (half / "decoder.onnx_adapter").unlink()
    with pytest.raises(ModuleFileError, match=r"decoder\.onnx_adapter belongs to it"):
        load_module(half)
    shutil.copytree(converted(0), mixed)
    shutil.copy(converted(1) / "decoder.onnx_adapter", mixed)
    with pytest.raises(ModuleFileError, match="not the file that"):
        load_module(mixed)

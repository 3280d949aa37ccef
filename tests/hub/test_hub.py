"""Hub ids, against a local cache laid out as huggingface_hub lays it out, in processes with its environment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hub_cache import cached

from edge_lorahub.errors import MissingPathError
from edge_lorahub.hub.resolve import checkpoint_folder, module_folder

Offline = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def offline(tmp_path: Path) -> Offline:
    """Runs the command line with an empty HF_HOME and HF_HUB_OFFLINE=1."""
    (tmp_path / "home").mkdir()

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "edge_lorahub", *map(str, arguments)],
            env=os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )

    return call


def test_a_checkpoint_and_modules_from_the_cache(
    offline: Offline, checkpoint: Path, module_folders: list[Path], examples_file: Path, tmp_path: Path
) -> None:
    cached(tmp_path / "home", "someone/tiny", checkpoint)
    for index, folder in enumerate(module_folders[:2]):
        cached(tmp_path / "home", f"lorahub/task-{index}", folder)
    assert offline("export", "someone/tiny", "bundle").returncode == 0
    modules = [part for index in range(2) for part in ("--module", f"lorahub/task-{index}")]
    result = offline("adapt", "bundle", examples_file, *modules, "--out", "out", "--budget", 3)
    assert result.returncode == 0, result.stderr
    assert "lorahub/task-1" in result.stdout


def test_a_repository_that_is_no_module(offline: Offline, bundle: Path, checkpoint: Path, tmp_path: Path) -> None:
    cached(tmp_path / "home", "someone/tiny", checkpoint)
    result = offline("generate", bundle, "w3", "--adapter", "someone/tiny")
    assert result.returncode == 2
    assert result.stderr == (
        "Error: someone/tiny: the Hub has no adapter_config.json there, so it is not a LoRA module\n"
    )


def test_a_revision_from_the_cache(offline: Offline, checkpoint: Path, tmp_path: Path) -> None:
    cached(tmp_path / "home", "someone/tiny", checkpoint, revision="v2")
    assert offline("export", "someone/tiny", "bundle", "--revision", "v2").returncode == 0
    result = offline("export", "someone/tiny", "other", "--revision", "v3")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "someone/tiny at revision v3" in result.stderr


def test_what_is_not_in_the_cache_is_one_line(offline: Offline) -> None:
    for arguments in (("export", "google/flan-t5-nothing", "out"), ("inspect", "lorahub/nothing")):
        result = offline(*arguments)
        assert result.returncode == 2
        assert len(result.stderr.splitlines()) == 1, result.stderr
        assert "not a local folder, not in the local Hub cache" in result.stderr


def test_a_local_folder_wins_and_a_file_is_refused(checkpoint: Path, examples_file: Path) -> None:
    assert checkpoint_folder(checkpoint) == checkpoint
    with pytest.raises(MissingPathError, match="a file, where a folder was expected"):
        module_folder(examples_file)
    for text in ("./no/such/folder", "a/b/c", "/nowhere", "with space/x", "", "~/nothing"):
        with pytest.raises(MissingPathError, match="no such folder, and not a Hub id"):
            module_folder(text)

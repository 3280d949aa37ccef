"""Outputs appear whole or not at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from edge_lorahub.composition.record_file import SIDECAR
from edge_lorahub.errors import OutputExistsError
from edge_lorahub.files.outputs import output_folder, write_text

NAMES = (SIDECAR, "marker", "other")


def sidecar(marker: str) -> str:
    """What tells an output with that marker from other folders."""
    return json.dumps(
        {"made_by": "edge-lorahub 0.2.0", "sha256": {"marker": hashlib.sha256(marker.encode()).hexdigest()}}
    )


def old_output(folder: Path) -> Path:
    folder.mkdir()
    (folder / SIDECAR).write_text(sidecar("old"))
    (folder / "marker").write_text("old")
    return folder


def write(out: Path, *, force: bool = False) -> None:
    with output_folder(out, force=force, names=NAMES) as work:
        (work / SIDECAR).write_text(sidecar("new"))
        (work / "marker").write_text("new")
        assert not (out / "marker").is_file() or (out / "marker").read_text() == "old"


def test_an_output_appears_whole(tmp_path: Path) -> None:
    write(tmp_path / "a" / "b" / "out")
    assert [p.name for p in (tmp_path / "a" / "b").iterdir()] == ["out"]
    with pytest.raises(OutputExistsError, match="--force"):
        write(tmp_path / "a" / "b" / "out")


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    out = old_output(tmp_path / "out")

    def fail() -> None:
        with output_folder(out, force=True, names=NAMES) as work:
            (work / "marker").write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (out / "marker").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    write(out, force=True)
    assert (out / "marker").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_force_spares_what_is_not_ours(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write(out, force=True)  # an empty folder is nobody's
    (out / "thesis.tex").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"it has thesis\.tex"):
        write(out, force=True)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputExistsError, match="not a folder"):
        write(tmp_path / "file", force=True)


def test_force_on_a_link_replaces_the_link(tmp_path: Path) -> None:
    old_output(tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    write(tmp_path / "link", force=True)
    assert (tmp_path / "real" / "marker").read_text() == "old"
    assert (tmp_path / "link" / "marker").read_text() == "new"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "real"]


def test_the_longest_names_and_unicode(tmp_path: Path) -> None:
    for name in ("n" * 255, "ö ä 数据"):
        write(tmp_path / name)
        assert (tmp_path / name / "marker").read_text() == "new"


def test_a_text_file_is_replaced_whole(tmp_path: Path) -> None:
    write_text(tmp_path / "below" / "x.jsonl", "é\n")
    write_text(tmp_path / "below" / "x.jsonl", "two\n")
    assert [(p.name, p.read_text()) for p in (tmp_path / "below").iterdir()] == [("x.jsonl", "two\n")]

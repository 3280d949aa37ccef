"""The rare ends of `output_folder`: interrupts, a rename that fails, links, odd paths, and what is found early."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_lorahub.errors import BundleError, NotWritableError, OutputExistsError
from edge_lorahub.files import (
    check_digests,
    check_output_file,
    check_output_folder,
    output_folder,
    sha256,
    write_text,
)

NAMES = ("marker", "data")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "parent" / "out"


def old_output(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "marker").write_text("old")
    return folder


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones too."""
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def write(out: Path, *, force: bool = False, then: Callable[[], None] = lambda: None) -> None:
    """An output that is written as a command does it; `then` happens before the block ends."""
    with output_folder(out, force=force, names=NAMES) as work:
        (work / "marker").write_text("new")
        then()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("before", [{}, {"out/marker": "old"}])
def test_whatever_ends_the_block_leaves_what_was_there(
    out: Path, error: type[BaseException], before: dict[str, str]
) -> None:
    out.parent.mkdir()
    if before:
        old_output(out)

    def end() -> None:
        raise error

    with pytest.raises(error):
        write(out, force=True, then=end)
    assert contents(out.parent) == before
    assert len(list(out.parent.iterdir())) == len(before)


def test_a_refusal_comes_before_the_block(out: Path) -> None:
    old_output(out)
    with pytest.raises(OutputExistsError), output_folder(out, force=False, names=NAMES):
        pytest.fail("the block ran")


@pytest.mark.parametrize(
    ("files", "reason"),
    [(["data"], "it has no marker"), (["marker", ".git/config"], r"it has \.git"), (["photo.jpg"], r"photo\.jpg")],
)
def test_force_spares_every_folder_that_is_not_just_an_output(out: Path, files: list[str], reason: str) -> None:
    for name in files:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("mine")
    with pytest.raises(OutputExistsError, match=reason):
        write(out, force=True)
    assert contents(out.parent) == {f"out/{name}": "mine" for name in files}


def test_data_that_arrives_during_the_block_is_kept(out: Path) -> None:
    def arrive() -> None:
        out.mkdir()
        (out / "mine").write_text("mine")

    with pytest.raises(OutputExistsError):
        write(out, force=True, then=arrive)
    assert contents(out.parent) == {"out/mine": "mine"}
    assert [p.name for p in out.parent.iterdir()] == ["out"]


def test_the_old_output_comes_back_if_the_new_one_cannot_take_its_place(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_output(out)
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        if Path(target) == out and (Path(source) / "marker").read_text() == "new":
            raise OSError(5, "Input/output error")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError, match="Input/output error"):
        write(out, force=True)
    assert contents(out.parent) == {"out/marker": "old"}
    assert [p.name for p in out.parent.iterdir()] == ["out"]


def test_a_link_that_leads_nowhere_is_kept(out: Path) -> None:
    out.parent.mkdir()
    out.symlink_to(out.parent / "nowhere")
    for force in (False, True):
        with pytest.raises(OutputExistsError):
            write(out, force=force)
    assert out.is_symlink()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("when", [1, 2])
def test_an_interrupt_between_the_renames_loses_nothing(
    out: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], when: int
) -> None:
    """It comes as a rename returns: of the old output aside, or of the new one to its place."""
    old_output(out)
    real, count = os.replace, 0

    def replace(source: Path, target: Path) -> None:
        nonlocal count
        real(source, target)
        count += 1
        if count == when:
            raise error

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(error):
        write(out, force=True)
    assert contents(out.parent) == {"out/marker": "old" if when == 1 else "new"}


def test_an_output_without_permission_is_found_before_the_work(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old_output(out)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != out)
    with pytest.raises(NotWritableError, match="no permission to replace what is in it"):
        check_output_folder(out, force=True, names=NAMES)


def test_relative_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write(Path("out"))
    write(Path("a/b/out"))
    before = {"here/out/marker": "new", "here/a/b/out/marker": "new"}
    assert contents(tmp_path) == before
    for path in (Path(), Path("..")):
        with pytest.raises(OutputExistsError):
            write(path, force=True)
    assert contents(tmp_path) == before


def test_a_file_in_the_place_of_a_parent_is_found_before_the_work(out: Path) -> None:
    out.parent.write_text("a file")
    for path in (out, out / "below" / "it"):
        with pytest.raises(OutputExistsError, match="parent is a file, not a folder"):
            check_output_folder(path, force=True, names=NAMES)
        with pytest.raises(OutputExistsError, match="parent is a file, not a folder"):
            check_output_file(path)


def test_a_folder_without_permission_is_found_before_the_work(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # not chmod, which does not bind an administrator
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != out.parent.parent)
    with pytest.raises(NotWritableError, match="no permission to write in"):
        check_output_folder(out, force=False, names=NAMES)


def test_a_text_that_cannot_be_written_leaves_the_old_one(out: Path) -> None:
    write_text(out, "old\n")
    with pytest.raises(UnicodeEncodeError):
        write_text(out, "half a pair: \ud83d")
    assert contents(out.parent) == {"out": "old\n"}


def test_a_changed_file_is_named(tmp_path: Path) -> None:
    # lengths around the block that is read at once
    for name, size in (("empty", 0), ("block", 1 << 20), ("more", (1 << 20) + 1)):
        (tmp_path / name).write_bytes(b"x" * size)
    digests = {name: sha256(tmp_path / name) for name in ("empty", "block", "more")}
    assert digests["empty"] == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    check_digests(tmp_path, digests)
    (tmp_path / "more").write_bytes(b"x" * (1 << 20) + b"y")
    with pytest.raises(BundleError, match="more: not what the manifest says"):
        check_digests(tmp_path, digests)

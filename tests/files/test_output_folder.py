"""The rare ends of `output_folder`: interrupts, a rename that fails, links, odd paths, and what is found early."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_lorahub.bundle.manifest import BUNDLE_FILES, MANIFEST, WEIGHTS
from edge_lorahub.composition.record_file import SIDECAR
from edge_lorahub.errors import BundleError, NotWritableError, OutputExistsError, OutputFailedError
from edge_lorahub.files import work_folder
from edge_lorahub.files.outputs import (
    check_digests,
    check_output_file,
    check_output_folder,
    keep_text,
    output_folder,
    replaced_folder,
    scratch_folder,
    sha256,
    write_text,
)

NAMES = (SIDECAR, "marker", "data")


def sidecar(marker: str) -> str:
    """What tells an output with that marker from other folders."""
    return json.dumps(
        {"made_by": "edge-lorahub 0.2.0", "sha256": {"marker": hashlib.sha256(marker.encode()).hexdigest()}}
    )


OLD = {f"out/{SIDECAR}": sidecar("old"), "out/marker": "old"}
NEW = {f"out/{SIDECAR}": sidecar("new"), "out/marker": "new"}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "parent" / "out"


@pytest.fixture(params=["exchange", "two renames"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How an older output is replaced; the second is for systems that cannot exchange names."""
    if request.param != "exchange":
        monkeypatch.setattr(work_folder, "exchange", lambda first, second: False)
    return str(request.param)


def old_output(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / SIDECAR).write_text(sidecar("old"))
    (folder / "marker").write_text("old")
    return folder


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones too."""
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def write(out: Path, *, force: bool = False, then: Callable[[], None] = lambda: None) -> None:
    """An output that is written as a command does it; `then` happens before the block ends."""
    with output_folder(out, force=force, names=NAMES) as work:
        (work / SIDECAR).write_text(sidecar("new"))
        (work / "marker").write_text("new")
        then()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("before", [{}, OLD])
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
    assert len(list(out.parent.iterdir())) == bool(before)


def test_the_folders_above_an_output_that_fails_are_removed_if_they_were_made_for_it(out: Path) -> None:
    def end() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write(out / "below" / "it", then=end)
    assert not out.parent.exists()


def test_a_refusal_comes_before_the_block(out: Path) -> None:
    old_output(out)
    with pytest.raises(OutputExistsError), output_folder(out, force=False, names=NAMES):
        pytest.fail("the block ran")


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"data": "mine"}, "it has no edge_lorahub.json"),
        ({SIDECAR: sidecar("mine"), ".git/config": "mine"}, r"it has \.git"),
        ({"photo.jpg": "mine"}, r"it has photo\.jpg"),
        ({SIDECAR: "my notes"}, "its edge_lorahub.json is not one that edge-lorahub wrote"),
        ({SIDECAR: "{}"}, "its edge_lorahub.json is not one that edge-lorahub wrote"),
        ({SIDECAR: '["made_by"]'}, "its edge_lorahub.json is not one that edge-lorahub wrote"),
        ({SIDECAR: '{"made_by": ["edge-lorahub 0.1.0"]}'}, "its edge_lorahub.json is not one that edge-lorahub wrote"),
        ({SIDECAR: '{"made_by": "edge-lorahub 9"}'}, "its edge_lorahub.json is not one that edge-lorahub wrote"),
        ({SIDECAR: '{"made_by": "edge-lorahub 9"}', "marker": "mine"}, "its edge_lorahub.json is not one that edge-"),
        ({SIDECAR: '{"made_by": "edge-lorahub 9", "sha256": ["marker"]}', "marker": "mine"}, "is not one that edge"),
        ({SIDECAR: sidecar("other"), "marker": "mine"}, "its marker is not what edge_lorahub.json says"),
        ({SIDECAR: sidecar("mine"), "marker": "mine", "data": ""}, "its data is not what edge_lorahub.json says"),
        ({SIDECAR: sidecar("mine"), "marker/thesis": "mine"}, "its marker is no file"),
        ({SIDECAR: json.dumps({"made_by": "edge-lorahub 1", "sha256": {"marker": "00"}}), "marker": "mine"},
         "its marker is not what edge_lorahub.json says"),
        ({SIDECAR: json.dumps({"made_by": "edge-lorahub 1", "sha256": {}}), "marker": "mine"},
         "its marker is not what edge_lorahub.json says"),
    ],
)  # fmt: skip
def test_force_spares_every_folder_that_is_not_just_an_output(out: Path, files: dict[str, str], reason: str) -> None:
    for name, text in files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text)
    with pytest.raises(OutputExistsError, match=reason):
        write(out, force=True)
    assert contents(out.parent) == {f"out/{name}": text for name, text in files.items()}


@pytest.mark.parametrize("name", [SIDECAR, "marker"])
def test_force_spares_pipes(out: Path, name: str) -> None:
    """And does not wait for somebody to write into them."""
    old_output(out)
    (out / name).unlink()
    os.mkfifo(out / name)
    with pytest.raises(OutputExistsError, match="is no file"):
        write(out, force=True)


@pytest.mark.parametrize(
    "manifest",
    [
        '{"name": "A web app", "manifest_version": 3}',
        '{"format_version": 2}',
        '{"format_version": 2, "tool_version": "1", "slots": {}, "sha256": {}}',
        "",
    ],
)
def test_force_spares_what_has_the_names_of_a_bundle_alone(out: Path, manifest: str) -> None:
    out.mkdir(parents=True)
    (out / MANIFEST).write_text(manifest)
    (out / WEIGHTS).write_text("mine")
    with pytest.raises(OutputExistsError, match=r"its manifest\.json is not one that edge-lorahub wrote"):
        check_output_folder(out, force=True, names=BUNDLE_FILES)


def test_force_spares_a_bundle_of_which_a_file_was_changed(bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "bundle")
    check_output_folder(tmp_path / "bundle", force=True, names=BUNDLE_FILES)
    (tmp_path / "bundle" / WEIGHTS).write_text("mine")
    with pytest.raises(OutputExistsError, match=r"its weights\.bin is not what manifest\.json says"):
        check_output_folder(tmp_path / "bundle", force=True, names=BUNDLE_FILES)


@pytest.mark.usefixtures("way")
def test_a_file_that_arrives_in_the_old_output_at_the_last_moment_is_kept(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_output(out)
    real = work_folder.sync_all

    def arrive(path: Path) -> None:
        real(path)
        (out / "mine").write_text("mine")

    monkeypatch.setattr(work_folder, "sync_all", arrive)
    with pytest.raises(OutputExistsError, match="it has mine"):
        write(out, force=True)
    assert contents(out.parent) == OLD | {"out/mine": "mine"}


def test_data_that_arrives_during_the_block_is_kept(out: Path) -> None:
    def arrive() -> None:
        out.mkdir()
        (out / "mine").write_text("mine")

    with pytest.raises(OutputExistsError):
        write(out, force=True, then=arrive)
    assert contents(out.parent) == {"out/mine": "mine"}
    assert [p.name for p in out.parent.iterdir()] == ["out"]


@pytest.mark.usefixtures("way")
def test_the_old_output_is_replaced_and_nothing_is_left(out: Path) -> None:
    old_output(out)
    write(out, force=True)
    assert contents(out.parent) == NEW
    assert [p.name for p in out.parent.iterdir()] == ["out"]


def test_the_old_output_comes_back_if_the_new_one_cannot_take_its_place(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_output(out)
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        if Path(target) == out and (Path(source) / "marker").read_text() == "new":
            raise OSError(errno.EIO, "Input/output error", str(source), None, str(target))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(work_folder, "exchange", lambda first, second: False)
    with pytest.raises(OutputFailedError, match=r"could not be written \(Input/output error\); nothing was changed"):
        write(out, force=True)
    assert contents(out.parent) == OLD
    assert [p.name for p in out.parent.iterdir()] == ["out"]


def test_a_link_that_leads_nowhere_is_kept(out: Path) -> None:
    out.parent.mkdir()
    out.symlink_to(out.parent / "nowhere")
    for force in (False, True):
        with pytest.raises(OutputExistsError):
            write(out, force=force)
    assert out.is_symlink()


def test_a_link_to_somebody_elses_folder_is_replaced_with_force_as_its_advice_says(out: Path) -> None:
    """The folder itself stays."""
    out.parent.mkdir()
    mine = out.parent / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    out.symlink_to(mine)
    with pytest.raises(OutputExistsError, match="overwrite it with --force"):
        write(out)
    write(out, force=True)
    assert contents(out.parent) == {**NEW, "mine/notes.txt": "mine"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize(("when", "left"), [(1, OLD), (2, NEW)])
def test_an_interrupt_between_two_renames_loses_nothing(
    out: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], when: int, left: dict[str, str]
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
    monkeypatch.setattr(work_folder, "exchange", lambda first, second: False)
    with pytest.raises(error):
        write(out, force=True)
    assert contents(out.parent) == left
    assert [p.name for p in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_after_the_exchange_loses_nothing(
    out: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    old_output(out)
    real = work_folder.exchange

    def exchange(first: Path, second: Path) -> bool:
        assert real(first, second)
        raise error

    monkeypatch.setattr(work_folder, "exchange", exchange)
    with pytest.raises(error):
        write(out, force=True)
    assert contents(out.parent) == NEW
    assert [p.name for p in out.parent.iterdir()] == ["out"]


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
    before = {f"here/{path}": text for path, text in NEW.items()}
    before |= {f"here/a/b/{path}": text for path, text in NEW.items()}
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


def test_an_output_file_replaces_neither_devices_nor_pipes_nor_what_is_protected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "null").symlink_to("/dev/null")
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/null"), tmp_path / "null", tmp_path / "pipe"):
        with pytest.raises(OutputExistsError, match="a device or pipe"):
            write_text(path, "text")
    (tmp_path / "file").write_text("old")
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / "file" and allowed(path, mode))
    with pytest.raises(NotWritableError, match="no permission to overwrite it"):
        write_text(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"


def test_a_cache_is_replaced_whatever_it_is(out: Path) -> None:
    for damage in (
        lambda: out.mkdir(parents=True),
        lambda: out.write_text("a file"),
        lambda: out.symlink_to("nowhere"),
    ):
        damage()
        with replaced_folder(out) as work:
            assert not work.exists()
            old_output(work)
        assert contents(out.parent) == OLD
        assert [p.name for p in out.parent.iterdir()] == ["out"]
        shutil.rmtree(out)


def test_a_scratch_folder_goes_with_its_block(out: Path) -> None:
    with scratch_folder(out) as folder:
        (folder / "large").write_text("text")
        assert folder.parent.parent == out.parent
    assert list(out.parent.iterdir()) == []


def test_a_small_text_is_kept_where_there_is_a_place(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out.mkdir(parents=True)
    monkeypatch.chdir(out)
    assert keep_text("w.json", "1") == out / "w.json"
    assert keep_text("w.json", "2") == out / "w-2.json"
    assert keep_text("w.json", "3", [out / "w.json", out.parent]) == out.parent / "w.json"
    assert contents(out.parent) == {"out/w.json": "1", "out/w-2.json": "2", "w.json": "3"}
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert keep_text("w.json", "4") is None


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

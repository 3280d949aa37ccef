"""Two names exchanged, and the lines for what the system refuses."""

from __future__ import annotations

import ctypes
import errno
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge_lorahub.errors import EdgeLorahubError, NotWritableError, OutputFailedError
from edge_lorahub.files.exchange import exchange
from edge_lorahub.files.write_errors import write_error


def test_folders_files_and_links_are_exchanged(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/name").write_text("text")
    (tmp_path / "file").write_text("content")
    (tmp_path / "link").symlink_to("nowhere")
    if not exchange(tmp_path / "folder", tmp_path / "file"):
        pytest.skip("this file system cannot exchange names")
    assert (tmp_path / "file/name").read_text() == "text"
    assert (tmp_path / "folder").read_text() == "content"
    assert exchange(tmp_path / "link", tmp_path / "file")
    assert (tmp_path / "file").is_symlink()
    assert (tmp_path / "link/name").read_text() == "text"


def test_a_name_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "here", tmp_path / "nowhere")
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL, errno.EPERM])
def test_a_system_that_cannot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: SimpleNamespace(renameat2=lambda *_: -1))
    monkeypatch.setattr(ctypes, "get_errno", lambda: number)
    assert not exchange(tmp_path, tmp_path)


def test_a_library_that_has_no_such_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: SimpleNamespace())
    assert not exchange(tmp_path, tmp_path)


PLACE = Path("/place/.work")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "full"), OutputFailedError),
        (OSError(errno.EDQUOT, "quota", str(PLACE / "output/x")), OutputFailedError),
        (OSError(errno.EIO, "broken", str(PLACE / "output/x")), OutputFailedError),
        (OSError(errno.ENOSPC, "full", "/source", None, str(PLACE / "output/x")), OutputFailedError),
        (OSError(errno.EROFS, "read only"), NotWritableError),
        (PermissionError(errno.EACCES, "denied", str(PLACE)), NotWritableError),
        (RuntimeError("Error while serializing: I/O error: No space left (os error 28)"), OutputFailedError),
        (RuntimeError("cannot read the model (os error 2)"), None),
        (OSError(errno.EIO, "broken", "/source"), None),
        (OSError(errno.ENOSPC, "full", "/tmp/another"), None),
        (OSError(errno.EIO, "broken"), None),
        (OSError("no number"), None),
        (OSError(errno.EBADF, "a descriptor", 3), None),
        (ValueError("of another kind"), None),
        (OutputFailedError("says what to do already"), None),
    ],
)
def test_the_line_for_an_error(error: Exception, kind: type[EdgeLorahubError] | None) -> None:
    line = write_error(error, Path("out"), [PLACE])
    assert type(line) is (kind or type(None))
    if line is not None:
        assert str(line).startswith("out: ")
        assert "choose another place" in str(line)

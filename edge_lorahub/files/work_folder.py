"""The hidden folder in which a run makes its output, and what becomes of it when the run dies.

It lies beside the output, on the same file system, so that what was made in it can take the output's name by a rename:

    .edge-lorahub-new-0123456789ab/
        lock      locked (flock) while the run lives, even when it is stopped or its id is another's; says whose it is
        output    what is being made; after an exchange of names, what was replaced
        old       what was replaced, where the system cannot exchange names
        ready     there since the output was whole and on the disk: the inode of what was made
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .._version import __version__
from .exchange import exchange
from .locks import locked, machine, new_lock, of_this_machine

_PREFIX = ".edge-lorahub-new-"
_NAME = re.compile(re.escape(_PREFIX) + "[0-9a-f]{12}")
_LOCK, _OUTPUT, _OLD, _READY = "lock", "output", "old", "ready"
# Another machine's locks may not reach here, as on some network file systems. A run of it that lives writes more often.
_FOREIGN_SECONDS = 7 * 24 * 3600
_MOST_BYTES = 1 << 20  # of a lock's record


class WorkFolder:
    """A run's work folder. `output` is to be made in it, as a file or a folder, and may then replace `out`.

    `close` has to follow in every case, also where `open` or what came after it was interrupted.
    """

    def __init__(self, out: Path, names: Sequence[str] | None) -> None:
        """out: the output's path, in a folder that is there. names: see `tidy`."""
        self._out = out.absolute()
        self._names = names
        self._lock: int | None = None
        self.path = self._new_path()

    def open(self) -> None:
        """Makes it, locked. Raises OSError."""
        self.path.mkdir(mode=0o700)
        self._lock = new_lock(self.path / _LOCK)
        while self._lock is None:
            self.path = self._new_path()
            self.path.mkdir(mode=0o700)
            self._lock = new_lock(self.path / _LOCK)
        names = None if self._names is None else list(self._names)
        record = {"made_by": f"edge-lorahub {__version__}", "out": self._out.name, "names": names, **machine()}
        os.write(self._lock, json.dumps(record).encode())
        os.fsync(self._lock)

    def _new_path(self) -> Path:
        return self._out.parent / f"{_PREFIX}{os.urandom(6).hex()}"

    @property
    def output(self) -> Path:
        return self.path / _OUTPUT

    def replace(self, check: Callable[[Path], None]) -> None:
        """`output` takes the place of `out`, if there is one, when all of it is on the disk.

        check gets what was replaced, under the name that it has now; what it raises undoes the replacement.
        Raises OSError. In every case one of the two is under the name of `out`, or will be when `tidy` was called.
        """
        if not any(_NAME.fullmatch(part) for part in self._out.parent.parts):
            sync_all(self.output)  # what is made in another work folder goes to the disk with that, or not at all
        (self.path / _READY).write_text(str(self.output.lstat().st_ino))
        sync(self.path / _READY)
        sync(self.path)
        if not os.path.lexists(self._out) or not self.output.is_dir():
            os.replace(self.output, self._out)
        elif exchange(self.output, self._out):
            try:
                check(self.output)
            except BaseException:
                exchange(self.output, self._out)
                raise
        else:
            old = self.path / _OLD
            os.replace(self._out, old)
            os.replace(self.output, self._out)
            try:
                check(old)
            except BaseException:
                os.replace(self._out, self.output)
                os.replace(old, self._out)
                raise
        sync(self._out.parent)

    def close(self) -> None:
        """Removes the work folder with what was replaced, or with what was not finished.

        What was replaced goes back if nothing has its name, as after an interrupt.
        """
        if sys.platform == "win32":
            self._release()  # an open file cannot be removed there
        with suppress(OSError):
            old = self.path / _OLD
            if os.path.lexists(old) and not os.path.lexists(self._out):
                os.replace(old, self._out)
            if not _holds_others(self.path, self._names):
                _remove(self.path)
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def tidy(folder: Path) -> None:
    """Finishes or removes the work folders that dead runs left in a folder. Living runs and everything else stay.

    A replacement that was interrupted between two renames is finished. A work folder is kept if it holds what was
    replaced and that is no folder of files with the run's `names` alone: somebody may have written there since.
    What the system refuses is left for the next time, without an error.
    """
    if sys.platform == "win32":
        return  # no lock that dies with its process
    with suppress(OSError), os.scandir(folder) as entries:
        found = [e.name for e in entries if _NAME.fullmatch(e.name) and e.is_dir(follow_symlinks=False)]
        for name in found:
            with suppress(OSError, ValueError):  # the latter for names that are none, in a lock that is damaged
                _settle(Path(folder, name))


def _settle(path: Path) -> None:
    if path.lstat().st_uid != os.geteuid():
        return
    try:
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        path.rmdir()  # if it is empty. A run that lives and has come no further makes itself another one.
        return
    try:
        if not locked(lock):
            return
        record = _read_record(lock)
        if record is None:
            if os.listdir(path) == [_LOCK]:
                _remove(path)
        elif of_this_machine(record) or time.time() - _last_change(path) > _FOREIGN_SECONDS:
            _finish(path, path.parent / record["out"])
            if not _holds_others(path, record["names"]):
                _remove(path)
    finally:
        os.close(lock)


def _finish(path: Path, out: Path) -> None:
    """Ends a replacement of which only the first of two renames was done. Raises FileExistsError if it cannot."""
    made, old = path / _OUTPUT, path / _OLD
    between = os.path.lexists(old) and os.path.lexists(made)
    if os.path.lexists(out):
        if between:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(out))
    elif _is_new(made):
        os.replace(made, out)
        sync(path.parent)
    elif between and (path / _READY).exists():  # it says nothing, or another inode than the file system does now
        os.replace(old, out)
        sync(path.parent)


def _is_new(output: Path) -> bool:
    """Whether it is what the run made, whole. After an exchange it is what was replaced."""
    try:
        return output.lstat().st_ino == int((output.parent / _READY).read_text())
    except (OSError, ValueError):
        return False


def _holds_others(path: Path, names: Sequence[str] | None) -> bool:
    """Whether there may be something of somebody else's in it: where a folder was replaced."""
    if names is None or not (path / _READY).exists():
        return False
    for folder in (path / _OUTPUT, path / _OLD):
        if folder.is_dir() and not folder.is_symlink() and not _is_new(folder):
            with os.scandir(folder) as entries:
                if any(entry.name not in names or entry.is_dir(follow_symlinks=False) for entry in entries):
                    return True
    return False


def _remove(path: Path) -> None:
    # without it nothing that is removed by half can pass for an output; the lock goes last, as it guards the rest
    (path / _READY).unlink(missing_ok=True)
    for name in sorted(os.listdir(path), key=_LOCK.__eq__):
        entry = path / name
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    path.rmdir()


def _read_record(lock: int) -> dict[str, Any] | None:
    """What a lock says, if it is one of ours and whole."""
    if not stat.S_ISREG(os.fstat(lock).st_mode):
        return None
    try:
        record = json.loads(os.read(lock, _MOST_BYTES))
        out, names = record["out"], record["names"]
        ours = record["made_by"].startswith("edge-lorahub ") and os.path.basename(out) == out
        if ours and out not in ("", ".", "..") and (names is None or isinstance(names, list)):
            return dict(record)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        pass
    return None


def _last_change(path: Path) -> float:
    """The latest time, in seconds since the epoch, at which anything in it was changed."""
    paths = [path, *(Path(folder, name) for folder, below, files in os.walk(path) for name in (*below, *files))]
    return max(each.lstat().st_mtime for each in paths)


def sync_all(path: Path) -> None:
    """Waits until a file, or a folder with all that is in it, is on the disk."""
    if path.is_dir():
        for folder, _, files in os.walk(path):
            for name in files:
                sync(Path(folder, name))
            sync(Path(folder))
    else:
        sync(path)


def sync(path: Path) -> None:
    if sys.platform == "win32":
        return  # it opens no folders, and syncs no file that was opened for reading
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # a file system that cannot, not one that failed
            raise OSError(error.errno, os.strerror(error.errno or 0), str(path)) from error
    finally:
        os.close(descriptor)

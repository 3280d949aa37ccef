"""Files locked (flock) by a process while it lives, and on which machine that is."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

if sys.platform != "win32":
    import fcntl


def new_lock(path: Path) -> int | None:
    """The descriptor of a new file, locked. None if a run that tidies up was faster, and took it for a dead one's."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
    except FileNotFoundError:
        return None
    try:
        locked(lock)
        if path.exists():
            return lock
    except BlockingIOError:
        pass
    os.close(lock)
    return None


def locked(descriptor: int) -> bool:
    """Locks a file until the process dies or closes it. False where there are no locks: then nobody removes it.

    Raises BlockingIOError where somebody else has it locked.
    """
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def machine() -> dict[str, str]:
    """Which machine this is, and since when it runs. All containers on it have the same `boot`, and share its locks."""

    def first_line(path: str) -> str:
        try:
            return Path(path).read_text().strip()
        except OSError:
            return ""

    name = os.uname().nodename if hasattr(os, "uname") else ""
    return {"boot": first_line("/proc/sys/kernel/random/boot_id"), "host": f"{name} {first_line('/etc/machine-id')}"}


def of_this_machine(record: Mapping[str, Any]) -> bool:
    here = machine()
    return bool(here["boot"] and record.get("boot") == here["boot"]) or record.get("host") == here["host"]

"""The processors that this process may use: those it may run on, and a container's share of their time."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def usable_processors() -> int:
    """At least 1. A container's quota counts in whole processors, rounded up."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = quota_of_cgroups()
    return count if quota is None else max(1, min(count, math.ceil(quota)))


def processor_name() -> str:
    """What the system calls the processor."""
    return cpuinfo("model name") or platform.processor() or platform.machine()


def cpuinfo(key: str) -> str:
    """What Linux says of the first processor under a key, "" for nothing."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == key:
                return value.strip()
    return ""


def quota_of_cgroups(root: Path = Path("/")) -> float | None:
    """The processors' time that Linux's control groups (version 1 or 2) give this process, in processors.

    None where they set no limit. The least of the process's own group and of those above it counts. root: where /proc
    and the mounted groups are looked for.
    """
    try:
        mounts = (root / "proc/self/mountinfo").read_text().splitlines()
        groups = dict(_groups((root / "proc/self/cgroup").read_text()))
    except (OSError, UnicodeDecodeError):
        return None
    quotas = []
    for mount in mounts:
        # see proc_pid_mountinfo(5): a root and a mount point, and after a dash the type, the source and options
        before, _, after = mount.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        if kind[0] == "cgroup2" and "" in groups:
            group, read = groups[""], _quota_2
        elif kind[0] == "cgroup" and "cpu" in kind[2].split(",") and "cpu" in groups:
            group, read = groups["cpu"], _quota_1
        else:
            continue
        for folder in _folders(root / fields[4].lstrip("/"), PurePosixPath(fields[3]), group):
            if (quota := read(folder)) is not None:
                quotas.append(quota)
    return min(quotas, default=None)


def _groups(text: str) -> Iterator[tuple[str, PurePosixPath]]:
    """The process's group by controller; that of version 2 has no controller's name."""
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            yield controller, PurePosixPath(path)


def _folders(top: Path, mounted: PurePosixPath, group: PurePosixPath) -> Iterator[Path]:
    """The folders of a group and of those above it, up to what is mounted."""
    parts: tuple[str, ...] = ()
    # in a container the group's name is often the host's, and the group itself is what is mounted
    if group.is_relative_to(mounted):
        parts = group.relative_to(mounted).parts
    if ".." in parts:
        parts = ()
    for length in range(len(parts), -1, -1):
        yield top.joinpath(*parts[:length])


def _quota_2(folder: Path) -> float | None:
    return _ratio(_words(folder / "cpu.max"))


def _quota_1(folder: Path) -> float | None:
    return _ratio(_words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us"))


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except (OSError, UnicodeDecodeError):
        return []


def _ratio(words: list[str]) -> float | None:
    """Of a quota and a period in microseconds; "max" and -1 are no quota."""
    try:
        quota, period = map(int, words)
    except ValueError:
        return None
    return quota / period if quota > 0 and period > 0 else None

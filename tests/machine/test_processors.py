"""A container's quota of processor time counts as its processors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_lorahub.machine import processors
from edge_lorahub.machine.processors import quota_of_cgroups, usable_processors
from edge_lorahub.runtime.session import MOST_THREADS, default_threads

# as proc_pid_mountinfo(5) has them; the first is of no control group
DISK = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw"
V2 = "30 22 0:26 {root} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "35 31 0:30 {root} /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct"
MEMORY = "36 31 0:31 / /sys/fs/cgroup/memory rw shared:10 - cgroup cgroup rw,memory"


def system(root: Path, mounts: list[str], groups: str, **files: str) -> Path:
    """A root folder with the files of /proc and of control groups; in `files` "__" stands for "/"."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mountinfo").write_text("\n".join([DISK, *mounts]) + "\n")
    (root / "proc/self/cgroup").write_text(groups)
    for name, content in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/").replace("cpu_", "cpu.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("100000 100000\n", 1.0),
        ("150000 100000\n", 1.5),
        ("50000 100000\n", 0.5),
        ("max 100000\n", None),
        ("", None),
        ("100000", None),
        ("0 100000", None),
        ("100000 0", None),
        ("nonsense 100000", None),
    ],
)
def test_version_2(tmp_path: Path, content: str, expected: float | None) -> None:
    root = system(tmp_path, [V2.format(root="/")], "0::/\n", cpu_max=content)
    assert quota_of_cgroups(root) == expected


def test_version_2_the_least_of_the_groups_above_counts(tmp_path: Path) -> None:
    files = {"cpu_max": "max 100000", "pod__cpu_max": "200000 100000", "pod__box__cpu_max": "400000 100000"}
    root = system(tmp_path, [V2.format(root="/")], "0::/pod/box\n", **files)
    assert quota_of_cgroups(root) == 2.0


@pytest.mark.parametrize(("quota", "expected"), [("300000\n", 3.0), ("-1\n", None), ("", None), ("25000\n", 0.25)])
def test_version_1(tmp_path: Path, quota: str, expected: float | None) -> None:
    files = {f"cpu,cpuacct__cpu_cfs_{name}_us": value for name, value in (("quota", quota), ("period", "100000"))}
    mounts = [MEMORY, V1.format(root="/")]
    assert quota_of_cgroups(system(tmp_path, mounts, "5:memory:/x\n4:cpu,cpuacct:/\n", **files)) == expected


@pytest.mark.parametrize("mounted", ["/", "/docker/3f2a"])
def test_version_1_in_a_container_that_sees_the_hosts_name_of_its_group(tmp_path: Path, mounted: str) -> None:
    files = {f"cpu,cpuacct__cpu_cfs_{name}_us": "100000" for name in ("quota", "period")}
    root = system(tmp_path, [V1.format(root=mounted)], "4:cpu,cpuacct:/docker/3f2a\n0::/\n", **files)
    assert quota_of_cgroups(root) == 1.0


def test_both_versions_at_once(tmp_path: Path) -> None:
    unified = V2.format(root="/").replace("/sys/fs/cgroup ", "/sys/fs/cgroup/unified ")
    files = {f"cpu,cpuacct__cpu_cfs_{name}_us": "100000" for name in ("quota", "period")}
    root = system(tmp_path, [V1.format(root="/"), unified], "4:cpu,cpuacct:/\n0::/\n", **files)
    assert quota_of_cgroups(root) == 1.0


@pytest.mark.parametrize("group", ["0::/../../other\n", "0::/a/../../b\n", "nonsense\n", "", "0::"])
def test_odd_groups_do_not_leave_what_is_mounted(tmp_path: Path, group: str) -> None:
    root = system(tmp_path / "root", [V2.format(root="/"), "short", "- - -"], group)
    (tmp_path / "cpu.max").write_text("1 100000")
    assert quota_of_cgroups(root) is None


def test_no_control_groups(tmp_path: Path) -> None:
    assert quota_of_cgroups(tmp_path) is None


@pytest.mark.parametrize(("quota", "expected"), [(None, 64), (0.1, 1), (1.0, 1), (1.5, 2), (2.0, 2), (99.0, 64)])
def test_threads_by_default(monkeypatch: pytest.MonkeyPatch, quota: float | None, expected: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(processors, "quota_of_cgroups", lambda: quota)
    assert usable_processors() == default_threads() == expected
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(1000)), raising=False)
    assert default_threads() <= MOST_THREADS


def test_this_machine() -> None:
    assert 1 <= default_threads() <= min(MOST_THREADS, os.cpu_count() or 1)

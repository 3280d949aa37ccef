"""Many adaptations in one process: memory, open files and threads stay as they were after the first ones.

EDGE_LORAHUB_ADAPTATIONS=1000 makes so many; the default is 60.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_lorahub.export import export
from edge_lorahub.tinyhub.hub import BASE

COUNT = int(os.environ.get("EDGE_LORAHUB_ADAPTATIONS", "60"))
# The model and the modules are loaded anew each time, and the search is another one: what leaks does so in all of it.
RUN = """
import gc, json, os, shutil, sys, threading, warnings
warnings.simplefilter("ignore")
import edge_lorahub as el
from edge_lorahub.tinyhub import DEV_TASKS, examples
from edge_lorahub.tinyhub.hub import module_folders
bundle, out, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
pages = os.sysconf("SC_PAGE_SIZE")
def facts():
    gc.collect()
    with open("/proc/self/statm") as file:
        memory = int(file.read().split()[1]) * pages
    return memory, len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
found = []
for turn in range(count):
    task = DEV_TASKS[turn % len(DEV_TASKS)].task
    pairs = [el.Example(*pair) for pair in examples(task, 5, 1 + turn)]
    settings = el.Settings(budget=12 + turn % 5, seed=turn, surrogate=None if turn % 3 else False)
    modules = el.Modules.load(module_folders("clean" if turn % 2 else "entangled")[turn % 3 :: 3])
    result = el.adapt(bundle, modules, pairs, settings, threads=1)
    if turn % 5 == 0:
        result.adapter.save(out, force=True)
        el.generate(el.load(bundle, threads=1), [pairs[0].input], adapter=el.load_adapter(out))
    found.append(facts())
print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory as Linux tells it")
def test_many_adaptations_take_no_more_than_a_few(tmp_path: Path) -> None:
    export(BASE, tmp_path / "bundle")
    done = subprocess.run(
        [sys.executable, "-c", RUN, tmp_path / "bundle", tmp_path / "adapter", str(COUNT)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    memory, files, threads = zip(*json.loads(done.stdout), strict=True)
    warm = COUNT // 3
    least, before, after, last = (
        f"{m / 1e6:.0f}" for m in (memory[0], max(memory[:warm]), max(memory[warm:]), memory[-1])
    )
    print(
        f"{COUNT} adaptations, MB: {least} after 1, at most {before} until {warm} and {after} from there, {last} last"
    )
    # the allocators' pools fill until about the 300th: of 1,000 adaptations the most was 50 MB above the first
    assert max(memory[warm:]) < max(memory[:warm]) + 30_000_000
    assert max(files[warm:]) <= max(files[:warm])
    assert max(threads[warm:]) <= max(threads[:warm])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "bundle"]

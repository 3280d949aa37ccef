"""One model in several threads, in forked processes and in spawned ones: the same answers, and no wait without end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edge_lorahub import Example, Model, Modules, Settings, adapt, generate, load, load_adapter

TEXTS = [" ".join(f"w{10 + i + j}" for j in range(60)) for i in range(16)]
SETTINGS = Settings(budget=8)


def answers(model: Model, module: Path | None = None) -> list[str]:
    return generate(model, TEXTS, max_new_tokens=4, adapter=None if module is None else load_adapter(module))


def answers_of(bundle: Path) -> list[str]:
    return answers(load(bundle, threads=2))


def test_threads_that_do_different_things_with_one_model(
    bundle: Path, module_folders: list[Path], modules: Modules, examples: list[Example]
) -> None:
    model = load(bundle, threads=2)
    work: list[Callable[[], object]] = [
        lambda: answers(model),
        lambda: answers(model, module_folders[0]),
        lambda: answers(model, module_folders[1]),
        lambda: adapt(model, modules, examples, SETTINGS).weights,
    ]
    alone = [one() for one in work]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert list(pool.map(lambda one: one(), work * 2)) == alone * 2


# from 3.12 on Python warns of every fork in a process that has threads
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif(sys.platform != "linux", reason="forks")
@pytest.mark.parametrize("own", [False, True], ids=["the parent's model", "a model of its own"])
def test_a_forked_process(bundle: Path, modules: Modules, examples: list[Example], own: bool) -> None:
    """Its threads but one are gone, and ONNX Runtime's are among them."""
    model = load(bundle, threads=2)
    expected = answers(model), adapt(model, modules, examples, SETTINGS).weights
    child = os.fork()
    if not child:
        code = 1
        try:
            signal.alarm(60)  # what waits without end is ended
            here = load(bundle, threads=2) if own else model
            code = int((answers(here), adapt(here, modules, examples, SETTINGS).weights) != expected)
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert answers(model) == expected[0]


def test_spawned_processes(bundle: Path) -> None:
    expected = answers_of(bundle)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map_async(answers_of, [bundle] * 3).get(120) == [expected] * 3

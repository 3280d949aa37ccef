"""Denormal numbers are zero while ONNX Runtime runs, and nowhere else."""

from __future__ import annotations

from threading import Event, Thread

import numpy as np
import pytest

from edge_lorahub import Example, Model, generate
from edge_lorahub.machine import denormals
from edge_lorahub.machine.denormals import denormals_as_zero

SMALL = np.float32(1e-39)


def is_kept() -> bool:
    return bool((np.full(8, SMALL) * np.float32(1)).any())


@pytest.mark.skipif(denormals._LIBM is None, reason="what the processor does is known on Linux and x86-64 alone")
def test_within_the_block() -> None:
    assert is_kept()
    with denormals_as_zero():
        assert not is_kept()
        with denormals_as_zero():
            assert not is_kept()
        assert not is_kept()
    assert is_kept()


@pytest.mark.skipif(denormals._LIBM is None, reason="what the processor does is known on Linux and x86-64 alone")
def test_other_threads_are_as_they_were() -> None:
    within, looked = Event(), Event()
    seen = []

    def look() -> None:
        within.wait(10)
        seen.append(is_kept())
        looked.set()

    thread = Thread(target=look)
    thread.start()
    with denormals_as_zero():
        within.set()
        assert looked.wait(10)
    thread.join()
    assert seen == [True]


def test_it_ends_with_an_error() -> None:
    with pytest.raises(ValueError, match="x"), denormals_as_zero():
        raise ValueError("x")
    assert is_kept()


def test_the_users_thread_is_as_it_was(model: Model, examples: list[Example]) -> None:
    assert generate(model, [example.input for example in examples], max_new_tokens=3)
    assert is_kept()


def test_elsewhere_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denormals, "_LIBM", None)
    with denormals_as_zero():
        assert is_kept()

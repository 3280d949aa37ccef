"""Arguments of the public functions that are whole numbers: anything else is one line, and no built-in's error."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edge_lorahub as el
from edge_lorahub.errors import SettingsError

# By the argument: the call that takes it, made of the model, the modules, the examples and their file.
CALLS: dict[str, Callable[..., Callable[..., object]]] = {
    "threads": lambda model, modules, examples, file: partial(el.load, model.folder),
    "max_new_tokens": lambda model, modules, examples, file: partial(el.generate, model, ["w3"]),
    "max_input_tokens": lambda model, modules, examples, file: partial(el.generate, model, ["w3"]),
    "batch_size": lambda model, modules, examples, file: partial(el.generate, model, ["w3"]),
    "first": lambda model, modules, examples, file: partial(el.stream, model, "w3"),
    "stream max_new_tokens": lambda model, modules, examples, file: partial(el.stream, model, "w3"),
    "evaluate max_new_tokens": lambda model, modules, examples, file: partial(el.evaluate, model, examples),
    "evaluate batch_size": lambda model, modules, examples, file: partial(el.evaluate, model, examples),
    "limit": lambda model, modules, examples, file: partial(el.read_examples, file),
    "skip": lambda model, modules, examples, file: partial(el.read_examples, file),
    "workers": lambda model, modules, examples, file: partial(el.adapt, model, modules, examples, budget=2),
    "rank": lambda model, modules, examples, file: el.load_adapter(next(iter(modules)).folder).truncated,
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("wrong", ["two", "1", 1.5, True, -1, float("nan"), [1], pytest.param(-(10**5000), id="huge")])
def test_what_is_no_whole_number_is_one_line(
    name: str, wrong: Any, model: el.Model, modules: el.Modules, examples: list[el.Example], examples_file: Path
) -> None:  # fmt: skip
    argument = name.split()[-1]
    with pytest.raises(SettingsError, match=rf"^{argument} must be "):
        CALLS[name](model, modules, examples, examples_file)(**{argument: wrong})


def test_numpys_whole_numbers_are_some(model: el.Model) -> None:
    assert el.generate(model, ["w3"], max_new_tokens=np.int64(3)) == el.generate(model, ["w3"], max_new_tokens=3)

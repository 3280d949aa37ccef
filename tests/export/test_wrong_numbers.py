"""Numbers that are none: an objective's, a budget's, a start's. Each is one EdgeLorahubError that says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_lorahub import Example, Model, Modules, Settings, adapt
from edge_lorahub.errors import EdgeLorahubError, ObjectiveError, SettingsError

NONE = [None, "0.5", b"1", [0.5], {}, 1j, object(), np.array([1.0, 2.0]), np.array("x"), Example("a", "b")]


@pytest.mark.parametrize("kind", ["objective", "text_objective"])
@pytest.mark.parametrize("value", NONE, ids=repr)
def test_an_objective_that_gives_no_number(
    model: Model, modules: Modules, examples: list[Example], kind: str, value: Any
) -> None:
    with pytest.raises(SettingsError, match="the objective must give a number, got"):
        adapt(model, modules, examples, Settings(budget=6), **{kind: lambda *_: value})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_objective_that_is_never_finite(
    model: Model, modules: Modules, examples: list[Example], value: float
) -> None:
    with pytest.raises(ObjectiveError, match="finite number"):
        adapt(model, modules, examples, Settings(budget=6), objective=lambda *_: value)


@pytest.mark.parametrize(
    "fields",
    [{"budget": 2.5}, {"budget": "3"}, {"budget": 0}, {"budget": float("nan")}, {"budget": True}, {"seed": 1.5},
     {"population": 6.5}, {"step_size": "1"}, {"step_size": float("inf")}, {"regularization": float("nan")},
     {"budget": -1}, {"max_input_tokens": 2.5}, {"max_output_tokens": None},
     {"optimizer": 3}, {"composition": 1}, {"racing": 1}, {"surrogate": "no"}, {"bound": [1.5]}, {"seed": np.int64(3)}],
    ids=repr,
)  # fmt: skip
def test_settings_that_are_no_numbers(fields: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=f"{next(iter(fields))} must be "):
        Settings(**fields)


@pytest.mark.parametrize(
    "weight", [None, "1", float("nan"), float("inf"), 10.0, 10**400, [1.0]], ids=lambda w: f"{w!r:.9}"
)
def test_a_start_that_is_no_weight(model: Model, modules: Modules, examples: list[Example], weight: Any) -> None:
    with pytest.raises(EdgeLorahubError):
        adapt(model, modules, examples, Settings(budget=3), start={modules.names[0]: weight})

"""The search on functions whose minimum is known: no model is involved."""

from __future__ import annotations

import numpy as np
import pytest
from searches import minimize

from edge_lorahub.errors import SettingsError
from edge_lorahub.search.loop import Found
from edge_lorahub.search.settings import SearchSettings


def sphere(population: np.ndarray) -> np.ndarray:
    """The squared distance to a point that is not the start."""
    return ((population - np.linspace(-1.2, 1.2, population.shape[1])) ** 2).sum(axis=1)


class Counted:
    """An objective that keeps the populations that it was given."""

    def __init__(self) -> None:
        self.populations: list[np.ndarray] = []

    def __call__(self, population: np.ndarray) -> np.ndarray:
        assert population.ndim == 2
        assert population.dtype == np.float64
        self.populations.append(population.copy())
        return sphere(population)


OPTIMIZERS = ["cma", "reference", "nevergrad:OnePlusOne", "nevergrad:DE", "nevergrad:NGOpt"]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("budget", [1, 2, 13, 40])
def test_the_budget_is_hard(optimizer: str, budget: int) -> None:
    objective = Counted()
    found = minimize(objective, 8, SearchSettings(optimizer=optimizer, budget=budget))
    assert sum(map(len, objective.populations)) == budget
    assert len(found.trace) == budget
    np.testing.assert_array_equal(np.vstack(objective.populations), [c.weights for c in found.trace])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_same_seed_gives_the_same_trace(optimizer: str) -> None:
    def run(seed: int) -> Found:
        return minimize(sphere, 8, SearchSettings(optimizer=optimizer, budget=30, seed=seed))

    def candidates(found: Found) -> list[bytes]:
        return [c.weights.tobytes() for c in found.trace]

    assert candidates(run(3)) == candidates(run(3))
    if optimizer in ("cma", "nevergrad:DE"):  # the others may be deterministic, as Cobyla is
        assert candidates(run(3)) != candidates(run(4))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_candidates_stay_within_the_bound(optimizer: str) -> None:
    far = SearchSettings(optimizer=optimizer, budget=60, bound=0.8)
    found = minimize(lambda population: -np.abs(population).sum(axis=1), 6, far)
    assert max(np.abs(c.weights).max() for c in found.trace) <= 0.8


@pytest.mark.parametrize("dimension", [1, 2, 8, 25])
def test_cma_approaches_the_minimum(dimension: int) -> None:
    target = np.linspace(-1, 1, dimension) if dimension > 1 else np.array([0.9])
    found = minimize(
        lambda population: ((population - target) ** 2).sum(axis=1),
        dimension,
        SearchSettings(budget=60 * dimension + 60),
    )
    assert ((found.weights - target) ** 2).sum() < 0.02 * dimension


def test_what_is_chosen_is_the_best_candidate_and_never_worse_than_zero() -> None:
    found = minimize(sphere, 8, SearchSettings(budget=25))
    losses = [c.loss for c in found.trace]
    assert not found.trace[0].weights.any()
    assert sphere(found.weights[None])[0] == min(losses) <= losses[0]
    # nothing is better than w = 0 here
    worse = minimize(lambda population: np.abs(population).sum(axis=1), 8, SearchSettings(budget=25))
    assert not worse.weights.any()


@pytest.mark.parametrize("dimension", [5, 17, 18, 30])
def test_the_step_size_is_that_of_the_first_generation(dimension: int) -> None:
    """nevergrad scales the step by 0.3 below 18 dimensions and 0.15 from there on; ours is in units of w."""
    objective = Counted()
    minimize(objective, dimension, SearchSettings(budget=401, population=400, step_size=0.2))
    assert objective.populations[1].std() == pytest.approx(0.2, rel=0.05)


def test_a_generation_is_evaluated_at_once() -> None:
    objective = Counted()
    found = minimize(objective, 20, SearchSettings(budget=40, population=12))
    assert [len(p) for p in objective.populations] == [1, 12, 12, 12, 3]
    assert found.optimizer == "CMA-ES (population 12, step size 0.075)"


def test_the_command_lines_defaults_are_the_settings() -> None:
    from edge_lorahub.cli.adapt import command

    defaults = {parameter.name: parameter.default for parameter in command.params}
    for name in ("seed", "optimizer", "step_size", "population"):
        assert defaults[name] == getattr(SearchSettings(), name)
    assert defaults["budget"] == "auto"
    assert SearchSettings().budget is None


def test_reference_starts_at_zero_and_takes_one_candidate_at_a_time() -> None:
    objective = Counted()
    found = minimize(objective, 20, SearchSettings(optimizer="reference", budget=40))
    assert {len(p) for p in objective.populations} == {1}
    assert not found.trace[0].weights.any()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"optimizer": "adam"}, "'adam' is unknown; choose cma, reference or nevergrad:NAME"),
        ({"budget": 0}, "budget must be at least 1"),
        ({"seed": -1}, "seed must be from 0"),
        ({"bound": 0}, "bound must be a positive number"),
        ({"step_size": float("nan")}, "step_size must be a positive number"),
        ({"population": 1}, "population must be from 2 to 10000"),
    ],
)
def test_wrong_settings_are_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        SearchSettings(**fields)  # type: ignore[arg-type]


def test_an_unknown_nevergrad_optimizer_is_refused_with_names_near_it() -> None:
    with pytest.raises(SettingsError, match=r"no optimizer 'OnePlusOen'; near it: .*OnePlusOne"):
        minimize(sphere, 8, SearchSettings(optimizer="nevergrad:OnePlusOen"))

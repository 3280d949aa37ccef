"""The search with a surrogate, on label logits whose best weights are known: no model is involved."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize as scipy_minimize

from edge_lorahub.label_logits import scored
from edge_lorahub.search import explain as explain_module
from edge_lorahub.search.advice import advise
from edge_lorahub.search.assisted import PROBE, SurrogateSearch
from edge_lorahub.search.budget import budget_for
from edge_lorahub.search.explain import Explanation, explain
from edge_lorahub.search.loop import Found, search
from edge_lorahub.search.settings import SearchSettings
from edge_lorahub.search.strategy import Candidate, Observation, Proposal
from edge_lorahub.search.surrogate import Labels, Surrogate

MODULES, EXAMPLES, TOKENS, VOCABULARY = 12, 4, 3, 400


class Problem:
    """Logits that answer to w as a model's do: nearly linearly. Two modules are of use, and two do nothing at all."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        positions = EXAMPLES * TOKENS
        self.labels = rng.integers(0, VOCABULARY, positions)
        self.plain = 2 * rng.standard_normal((positions, VOCABULARY))
        self.effects = rng.standard_normal((MODULES, positions, VOCABULARY))
        self.effects[3, np.arange(positions), self.labels] += 5
        self.effects[7, np.arange(positions), self.labels] -= 4
        self.effects[[1, 9]] = 0
        self.evaluated = 0

    def logits(self, w: np.ndarray) -> np.ndarray:
        linear = np.einsum("m,mtv->tv", w, self.effects)
        return np.asarray(self.plain + 6 * np.tanh(linear / 6))

    def losses(self, w: np.ndarray) -> np.ndarray:
        logits = self.logits(w)
        each = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(logits)), self.labels]
        return np.asarray(each.reshape(EXAMPLES, TOKENS).mean(axis=1))

    def __call__(self, proposal: Proposal) -> list[Observation]:
        seen = []
        for w in proposal.weights:
            self.evaluated += 1
            losses = self.losses(w)
            kept = None
            if proposal.logits:
                _, kept = scored(self.logits(w).astype(np.float32), self.labels, 128)
            seen.append(Observation(w, float(losses.mean() + 0.2 * np.abs(w).mean()), losses, kept))
        return seen

    def truth(self) -> float:
        """The least loss with its penalty, by SciPy from several starts on the exact function."""

        def smooth(sides: np.ndarray) -> float:
            return float(self.losses(sides[:MODULES] - sides[MODULES:]).mean() + 0.2 * sides.sum() / MODULES)

        starts = [np.zeros(2 * MODULES), np.full(2 * MODULES, 0.1), np.eye(2 * MODULES)[3]]
        return min(scipy_minimize(smooth, s, bounds=[(0, 1.5)] * 2 * MODULES, method="L-BFGS-B").fun for s in starts)


def run(problem: Problem, budget: int, **options: object) -> tuple[Found, SurrogateSearch]:
    settings = SearchSettings(budget=budget)
    labels = Labels.of(np.full(EXAMPLES, float(TOKENS)))
    strategy = SurrogateSearch(settings, MODULES, labels, **options)  # type: ignore[arg-type]
    return search(problem, strategy, budget), strategy


def test_it_finds_the_best_weights_soon_after_the_probes() -> None:
    problem = Problem()
    truth, plain = problem.truth(), problem.losses(np.zeros(MODULES)).mean()
    found, _ = run(problem, MODULES + 13)
    best = min(c.loss for c in found.trace)
    assert best - truth < 0.05 * (plain - truth)
    assert found.weights[3] > 0.5
    assert found.weights[7] < -0.3


def test_the_phases_and_what_they_ask_for() -> None:
    found, strategy = run(Problem(), 40)
    trace = found.trace
    assert not trace[0].weights.any()
    np.testing.assert_array_equal([c.weights for c in trace[1 : MODULES + 1]], PROBE * np.eye(MODULES))
    assert [c.phase for c in trace[: MODULES + 1]] == ["plain model"] + ["probing"] * MODULES
    rest = trace[MODULES + 1 :]
    assert {c.phase for c in rest} == {"model"}
    assert all(c.predicted is not None for c in rest)
    assert strategy.probed == list(range(MODULES))
    assert found.optimizer == "CMA-ES with a surrogate of the label logits"


def test_what_it_predicts_comes_true_as_it_learns() -> None:
    found, _ = run(Problem(), 40)
    off = [abs(c.predicted - c.loss) for c in found.trace if c.predicted is not None]
    assert max(off[-3:]) < 0.1 * off[0]
    assert max(off[-3:]) < 0.1


def test_modules_that_do_nothing_have_weight_zero_exactly() -> None:
    found, _ = run(Problem(), 40)
    for candidate in found.trace[MODULES + 1 :]:
        assert candidate.weights[1] == candidate.weights[9] == 0


def test_it_ends_when_there_is_nothing_more_to_gain() -> None:
    problem = Problem()
    found, _ = run(problem, 500)
    assert len(found.trace) == problem.evaluated < 100


def test_labels_that_stay_unlikely_are_searched_for_as_well() -> None:
    """As with random weights: at a loss of some hundred nats the logits still say which way to go, to the end."""
    problem = Problem()
    problem.plain[np.arange(EXAMPLES * TOKENS), problem.labels] -= 300
    truth, plain = problem.truth(), problem.losses(np.zeros(MODULES)).mean()
    found, _ = run(problem, 60)
    assert plain > 250
    assert max(abs(c.predicted - c.loss) for c in found.trace if c.predicted is not None) < 1
    assert min(c.loss for c in found.trace) - truth < 0.3 * (plain - truth)


def test_it_ends_soon_where_no_module_is_of_use() -> None:
    for lower in (0, 300):
        problem = Problem()
        problem.effects[:] = 0
        problem.plain[np.arange(EXAMPLES * TOKENS), problem.labels] -= lower
        found, _ = run(problem, 200)
        assert found.converged
        assert len(found.trace) < MODULES + 6
        assert not found.weights.any()


@pytest.mark.parametrize("budget", [1, 2, 3, 5, 9, MODULES, MODULES + 1, MODULES + 2, 30])
def test_the_budget_is_hard_and_all_of_it_is_of_use(budget: int) -> None:
    problem = Problem()
    found, strategy = run(problem, budget)
    assert problem.evaluated == len(found.trace) <= budget
    if budget <= MODULES + 2:
        assert len(found.trace) == budget
    assert min(c.loss for c in found.trace) == next(
        c.loss for c in found.trace if np.array_equal(c.weights, found.weights)
    )
    assert max(np.abs(c.weights).max() for c in found.trace) <= 1.5
    assert len(strategy.probed) <= MODULES


def test_the_most_promising_modules_are_probed_first() -> None:
    order = list(reversed(range(MODULES)))
    found, strategy = run(Problem(), 8, order=lambda: order)
    assert strategy.probed == order[: len(strategy.probed)]
    assert len(strategy.probed) == 6
    for place, candidate in zip(order, found.trace[1:7], strict=False):
        assert candidate.weights[place] == PROBE


def test_the_same_observations_give_the_same_candidates() -> None:
    one, other = run(Problem(), 40)[0], run(Problem(), 40)[0]
    assert [c.weights.tobytes() for c in one.trace] == [c.weights.tobytes() for c in other.trace]


def test_an_objective_of_ones_own_is_searched_by_cma_es_from_the_surrogates_optimum() -> None:
    """Here the objective is best further along the way to the labels: where w[3] is 1.2."""
    problem = Problem()

    def evaluate(proposal: Proposal) -> list[Observation]:
        return [
            Observation(
                o.weights, float((o.weights[3] - 1.2) ** 2 + 0.2 * np.abs(o.weights).mean()), o.losses, o.logits
            )
            for o in problem(proposal)
        ]

    labels = Labels.of(np.full(EXAMPLES, float(TOKENS)))
    strategy = SurrogateSearch(SearchSettings(budget=60), MODULES, labels, own_objective=True)
    found = search(evaluate, strategy, 60)
    phases = [c.phase for c in found.trace]
    assert len(found.trace) == 60
    first = phases.index("CMA-ES")
    assert phases[1 : MODULES + 1] == ["probing"] * MODULES
    assert MODULES + 2 <= first < 35
    assert set(phases[first:]) == {"CMA-ES"}
    guide = min(found.trace[:first], key=lambda c: problem.losses(c.weights).mean() + 0.2 * np.abs(c.weights).mean())
    generation = np.array([c.weights for c in found.trace[first : first + 6]])
    # the first generation is around what the surrogate found, and wider where the labels' loss is flat
    assert np.abs(generation.mean(axis=0) - guide.weights).max() < 0.4
    spread = np.abs(generation - guide.weights).mean(axis=0)
    assert spread[[1, 9]].mean() > spread[[3, 7]].mean()
    assert abs(found.weights[3] - 1.2) < abs(guide.weights[3] - 1.2)


def test_weights_to_start_from_are_tried_and_are_the_center() -> None:
    start = np.zeros(MODULES)
    start[[3, 7]] = 0.6, -0.4
    problem = Problem()
    found, strategy = run(problem, 30, center=start)
    np.testing.assert_array_equal([c.weights for c in found.trace[:2]], [np.zeros(MODULES), start])
    np.testing.assert_array_equal(strategy.penalty.center, start)


def test_a_candidate_that_overflows_teaches_nothing() -> None:
    problem = Problem()

    def evaluate(proposal: Proposal) -> list[Observation]:
        seen = problem(proposal)
        if proposal.phase == "probing":
            bad = seen[2]
            seen[2] = Observation(bad.weights, 1e20, np.full(EXAMPLES, np.nan), bad.logits)
        return seen

    strategy = SurrogateSearch(SearchSettings(budget=30), MODULES, Labels.of(np.full(EXAMPLES, float(TOKENS))))
    found = search(evaluate, strategy, 30)
    assert np.isfinite([c.weights for c in found.trace]).all()
    assert found.weights[3] > 0.5


def test_the_explanation_is_of_the_weights_found() -> None:
    """What a module contributes is what the exact losses say, about; and the interval is over the examples."""
    problem = Problem()
    found, strategy = run(problem, 40)
    told = explain(strategy.surrogate(), strategy.labels, strategy.penalty, found.weights, 1.5)
    for module in (3, 7):
        without = found.weights.copy()
        without[module] = 0
        rises = problem.losses(without) - problem.losses(found.weights)
        mean, low, high = told.contributions[module]
        assert mean == pytest.approx(rises.mean(), rel=0.4)
        assert low < mean < high
    assert not told.contributions[[1, 9]].any()
    np.testing.assert_allclose(told.plain, problem.losses(np.zeros(MODULES)), rtol=0.02)
    assert told.left_out.shape == (EXAMPLES,)


def explained(problem: Problem, found: Found, strategy: SurrogateSearch) -> Explanation:
    def evaluate(w: np.ndarray) -> Observation:
        return problem(Proposal(w[None], "report", logits=True))[0]

    return strategy.explain(found.weights, problem.losses(found.weights), evaluate)


def test_examples_that_contradict_each_other_are_named() -> None:
    problem = Problem()
    # the last example wants the opposite of the others
    problem.effects[:, -TOKENS:, :] = 0
    problem.effects[3, np.arange(9, 12), problem.labels[-TOKENS:]] = -6
    found, strategy = run(problem, 40)
    told = explained(problem, found, strategy)
    assert told.checked == (3,)
    assert told.disagreeing == [3]


def test_an_example_is_not_named_for_what_the_surrogate_believes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The surrogate says of every example that the others' weights ruin it; evaluating them shows that they do not."""
    problem = Problem()
    found, strategy = run(problem, 40)
    trace = list(found.trace)
    true = explain_module._by_example

    def wrong(surrogate: Surrogate, labels: Labels, w: np.ndarray) -> np.ndarray:
        return true(surrogate, labels, w) + 100 * w.any()

    monkeypatch.setattr(explain_module, "_by_example", wrong)
    believed = strategy.explain(found.weights)
    assert (believed.left_out > believed.plain).all()
    assert believed.disagreeing == []
    evaluated = problem.evaluated
    told = explained(problem, found, strategy)
    assert told.checked == tuple(range(EXAMPLES))
    assert told.disagreeing == []
    assert (told.left_out < 10).all()
    assert 0 < problem.evaluated - evaluated <= 3 * EXAMPLES
    assert list(found.trace) == trace


def test_a_check_of_losses_that_are_no_numbers_names_nobody() -> None:
    problem = Problem()
    found, strategy = run(problem, 40)
    told = replace(strategy.explain(found.weights), left_out=np.full(EXAMPLES, 100.0))
    nan = np.full(EXAMPLES, np.nan)
    checked = explain_module.check(
        told, strategy.surrogate, strategy.labels, strategy.penalty, found.weights, problem.losses(found.weights), 1.5,
        lambda w: nan,
    )  # fmt: skip
    assert checked.disagreeing == []


def test_the_budget_chosen_for_the_user() -> None:
    auto = budget_for(SearchSettings(), 20)
    assert auto.candidates == 81
    assert auto.seconds is None
    assert budget_for(SearchSettings(), 20, 0.05).seconds == pytest.approx(81 * 0.05)
    slow = budget_for(SearchSettings(), 200, 10.0)
    assert slow.candidates == 60
    assert "10 minutes" in slow.reason
    given = budget_for(SearchSettings(budget=500), 20, 10.0)
    assert given.candidates == 500
    assert budget_for(SearchSettings(optimizer="reference"), 20).candidates == 40


def test_the_budget_is_revised_after_the_first_candidate() -> None:
    problem, told = Problem(), []

    def revise(seconds: float) -> int:
        told.append(seconds)
        return 16

    strategy = SurrogateSearch(SearchSettings(), MODULES, Labels.of(np.full(EXAMPLES, float(TOKENS))))
    seen: list[Candidate] = []
    found = search(problem, strategy, 70, on_candidate=seen.append, revise=revise)
    assert len(told) == 1
    assert told[0] > 0
    assert len(found.trace) == 16
    assert tuple(seen) == found.trace


@pytest.mark.parametrize(
    ("settings", "modules", "budget", "words"),
    [
        (SearchSettings(surrogate=False), 20, 40, "optimizer cma without its surrogate .* 20 weights .* budget of 40"),
        (SearchSettings(surrogate=False), 20, 200, None),
        (SearchSettings(), 20, 40, None),
        (SearchSettings(), 20, 22, "tries 18 of 20 modules alone in a budget of 22 .* a budget of 24 tries them all"),
        (SearchSettings(), 200, 202, "optimizer cma tries 171 of 200 modules alone in a budget of 202"),
        (SearchSettings(), 200, 40, "optimizer cma tries 33 of 200 modules alone in a budget of 40"),
        (SearchSettings(optimizer="reference"), 20, 40, None),
    ],
)
def test_advice_names_optimizer_and_budget(
    settings: SearchSettings, modules: int, budget: int, words: str | None
) -> None:
    found = advise(settings, modules, budget)
    if words is None:
        assert not found
    else:
        assert len(found) == 1
        import re

        assert re.search(words, found[0])


def test_probes_stay_within_the_bound() -> None:
    labels = Labels.of(np.full(EXAMPLES, float(TOKENS)))
    strategy = SurrogateSearch(SearchSettings(bound=0.3), MODULES, labels)
    found = search(Problem(), strategy, 30)
    assert max(np.abs(c.weights).max() for c in found.trace) == 0.3


def test_without_one_finite_logit_cma_es_does_what_it_can() -> None:
    def evaluate(proposal: Proposal) -> list[Observation]:
        nan = np.full(EXAMPLES, np.nan)
        return [Observation(w, float(((w - 0.2) ** 2).sum()), nan, None) for w in proposal.weights]

    labels = Labels.of(np.full(EXAMPLES, float(TOKENS)))
    strategy = SurrogateSearch(SearchSettings(), MODULES, labels, own_objective=True)
    found = search(evaluate, strategy, 80)
    assert len(found.trace) == 80
    assert not strategy.knows
    assert found.trace[-1].phase == "CMA-ES"
    assert ((found.weights - 0.2) ** 2).sum() < MODULES * 0.04


def test_many_modules_of_use_and_a_candidate_has_but_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a limit below the modules that pay, candidates keep to it and still come near the best weights."""
    monkeypatch.setattr("edge_lorahub.search.assisted.MOST_ACTIVE", 4)
    problem = Problem()
    found, _ = run(problem, 45)
    assert max(np.count_nonzero(c.weights) for c in found.trace) <= 4
    assert found.weights[3] > 0.5
    plain, truth = problem.losses(np.zeros(MODULES)).mean(), problem.truth()
    assert min(c.loss for c in found.trace) - truth < 0.2 * (plain - truth)


def test_it_says_why_it_ended() -> None:
    assert run(Problem(), 500)[0].converged
    assert not run(Problem(), 14)[0].converged

"""Adapting as a whole, on the tiny model."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scores import score

from edge_lorahub import Adaptation, Example, Model, Modules, Settings, adapt, generate, load, load_adapter
from edge_lorahub.composition.record_file import SIDECAR, record_json
from edge_lorahub.composition.stack import COMPOSITIONS, plain_inputs
from edge_lorahub.errors import EdgeLorahubWarning, ExamplesError, ModuleMismatchError, SettingsError
from edge_lorahub.learning.objective import WORST_LOSS, reference_loss
from edge_lorahub.runtime.binding import Runner
from edge_lorahub.runtime.scoring import Losses
from edge_lorahub.search.strategy import Candidate
from edge_lorahub.testing.random_models import write_module


def scored(model: Model, result: Adaptation, examples: Sequence[Example]) -> float:
    """The loss of the finished adapter, by its own inputs and not the search's."""
    runner = Runner(model, "score", result.adapter.inputs(model.manifest))
    return float(score(runner, examples, 2048, 256).means().mean())


@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_the_adapter_has_the_loss_that_the_search_reports(
    model: Model, modules: Modules, examples: list[Example], composition: str
) -> None:
    result = adapt(model, modules, examples, Settings(budget=30, composition=composition))
    plain = score(Runner(model, "score", plain_inputs(model.manifest.slots)), examples, 2048, 256).means().mean()
    assert result.loss_before == pytest.approx(plain, rel=1e-6)
    assert result.loss_after < result.loss_before
    assert scored(model, result, examples) == pytest.approx(result.loss_after, rel=1e-5)
    assert list(result.weights) == modules.names


def test_the_regularization_is_that_of_the_released_code(
    model: Model, modules: Modules, examples: list[Example]
) -> None:
    """0.05 * sum |w| / N on top of the loss (lorahub/algorithm.py, get_regular)."""
    free, bound = (
        adapt(model, modules, examples, Settings(budget=9, surrogate=False, regularization=r)) for r in (0.0, 0.05)
    )
    for one, other in zip(free.trace, bound.trace, strict=True):
        np.testing.assert_array_equal(one.weights, other.weights)  # one generation: the losses do not steer yet
        assert other.loss - one.loss == pytest.approx(0.05 * np.abs(one.weights).sum() / 4, abs=1e-9)


@pytest.mark.parametrize("surrogate", [True, False])
def test_two_runs_give_the_same_trace_bit_for_bit(
    bundle: Path, modules: Modules, examples: list[Example], surrogate: bool
) -> None:
    def run() -> list[tuple[bytes, float]]:
        settings = Settings(budget=30, seed=5, surrogate=surrogate)
        result = adapt(load(bundle, threads=2), modules, examples, settings)
        return [(c.weights.tobytes(), c.loss) for c in result.trace]

    assert run() == run()


# Lengths so different that every example is a batch of its own.
SPREAD = [
    Example(" ".join(f"w{5 + i % 123}" for i in range(length)), f"w{40 + length // 3} w41")
    for length in (3, 60, 9, 180, 25)
]


@pytest.mark.parametrize(
    "settings",
    [Settings(budget=30), Settings(budget=30, surrogate=False), Settings(budget=30, composition="paper")],
    ids=["surrogate", "exact", "paper"],
)
def test_the_number_of_workers_changes_nothing(bundle: Path, modules: Modules, settings: Settings) -> None:
    def run(threads: int, workers: int) -> list[tuple[bytes, float]]:
        result = adapt(load(bundle, threads=threads), modules, SPREAD, settings, workers=workers)
        return [(c.weights.tobytes(), c.loss) for c in result.trace]

    assert run(1, 1) == run(4, 1) == run(2, 2) == run(5, 5)


def test_workers_give_the_texts_in_order(bundle: Path, modules: Modules, examples: list[Example]) -> None:
    def run(workers: int) -> list[float]:
        seen: list[float] = []

        def long(predictions: list[str], given: Sequence[Example]) -> float:
            seen.append(float(sum(map(len, predictions))))
            assert threading.current_thread() is threading.main_thread()
            return seen[-1]

        adapt(load(bundle, threads=workers), modules, examples, Settings(budget=14), workers=workers,
              text_objective=long)  # fmt: skip
        return seen

    assert run(1) == run(3)


@pytest.mark.parametrize("composition", COMPOSITIONS)
@pytest.mark.parametrize("workers", [1, 3])
def test_racing_finds_the_same_bit_for_bit(bundle: Path, tmp_path: Path, composition: str, workers: int) -> None:
    model = load(bundle, threads=workers)
    # loud ones, and much regularization: the losses of candidates must differ for any to be stopped
    modules = Modules.load([write_module(tmp_path / f"m{seed}", "tiny", seed=seed, std=3) for seed in range(4)])
    told: list[Candidate] = []
    settings = Settings(budget=60, surrogate=False, step_size=1, regularization=40, composition=composition)
    with pytest.warns(EdgeLorahubWarning, match="none of 60 candidates"):  # with so much regularization
        on, off = (
            adapt(model, modules, SPREAD, replace(settings, racing=racing), workers=workers, on_candidate=told.append)
            for racing in (True, False)
        )
    assert list(on.weights.values()) == list(off.weights.values())
    assert on.loss_after == off.loss_after
    stopped = 0
    for one, other in zip(on.trace, off.trace, strict=True):
        np.testing.assert_array_equal(one.weights, other.weights)
        assert one.loss in (other.loss, np.inf)
        stopped += one.loss == np.inf
    assert stopped > 5  # otherwise nothing was shown
    assert 0.05 < on.adapter.record.spared < 0.8
    assert off.adapter.record.spared == 0
    assert len(told) == 120
    assert json.loads(json.dumps(record_json(on.adapter.record), allow_nan=False))["trace"][0]["loss"] > 0


def test_an_own_objective_is_not_raced(model: Model, modules: Modules) -> None:
    settings = Settings(budget=30, surrogate=False)
    result = adapt(model, modules, SPREAD, settings, objective=lambda losses, given: -float(losses.sum()))
    assert result.adapter.record.spared == 0
    assert all(np.isfinite(c.loss) for c in result.trace)


def test_a_model_serves_several_threads(model: Model, modules: Modules, examples: list[Example]) -> None:
    expected = adapt(model, modules, examples, Settings(budget=20)).weights
    found: list[dict[str, float]] = []

    def work() -> None:
        found.append(adapt(model, modules, examples, Settings(budget=20)).weights)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 3


def test_reference_divides_the_batchs_mean_by_the_examples() -> None:
    losses = Losses(np.array([2.0, 6.0]), np.array([1.0, 3.0]))
    assert reference_loss(losses) == pytest.approx(8 / 4 / 2)


def test_reference_is_paper_mode_with_ngopt(model: Model, modules: Modules, examples: list[Example]) -> None:
    settings = Settings(optimizer="reference", budget=12)
    assert settings.chosen_composition == "paper"
    result = adapt(model, modules, examples, settings)
    plain = score(Runner(model, "score", plain_inputs(model.manifest.slots)), examples, 2048, 256)
    assert result.optimizer == "NGOpt"
    assert result.trace[0].loss == pytest.approx(plain.sums.sum() / plain.tokens.sum() / 5, rel=1e-6)


def test_replacing_a_setting_means_what_it_would_from_the_start() -> None:
    """What a setting means by default depends on others, and is not stored."""
    for fields in (
        {"optimizer": "reference"}, {"composition": "paper"}, {"surrogate": False}, {"optimizer": "nevergrad:DE"},
        {"surrogate": True}, {"budget": 7},
    ):  # fmt: skip
        one, other = replace(Settings(), **fields), Settings(**fields)
        assert one == other
        assert (one.chosen_composition, one.strength, one.assisted) == (
            other.chosen_composition, other.strength, other.assisted,
        )  # fmt: skip
    assert replace(Settings(), optimizer="reference").chosen_composition == "paper"
    assert replace(Settings(optimizer="reference"), optimizer="cma").chosen_composition == "exact"
    assert replace(Settings(composition="exact"), optimizer="reference").chosen_composition == "exact"
    with pytest.raises(SettingsError, match="a surrogate assists"):
        replace(Settings(surrogate=True), optimizer="reference")


def test_an_objective_on_the_losses(model: Model, modules: Modules, examples: list[Example]) -> None:
    """The worst example counts, instead of the mean."""

    def worst(losses: np.ndarray, given: Sequence[Example]) -> float:
        assert losses.shape == (5,)
        assert list(given) == examples
        return float(losses.max())

    result = adapt(model, modules, examples, Settings(budget=20), objective=worst)
    runner = Runner(model, "score", result.adapter.inputs(model.manifest))
    means = score(runner, examples, 2048, 256).means()
    assert means.max() == pytest.approx(result.loss_after, rel=1e-5)


@pytest.mark.filterwarnings(
    "ignore:none of .* was better than the plain model", "ignore:adapted. all of its B are zero"
)
def test_an_objective_on_the_texts(model: Model, modules: Modules, examples: list[Example]) -> None:
    """How often the word w40 is written; predictions are no longer than the longest output."""
    seen: list[list[str]] = []

    def count(predictions: list[str], given: Sequence[Example]) -> float:
        seen.append(predictions)
        return -float(sum(p.split().count("w40") for p in predictions))

    result = adapt(model, modules, examples, Settings(budget=15), text_objective=count)
    assert len(seen) == 15
    assert max(len(text.split()) for texts in seen for text in texts) <= 3
    answers = generate(model, [e.input for e in examples], adapter=result.adapter, max_new_tokens=3)
    assert -sum(a.split().count("w40") for a in answers) == result.loss_after


@pytest.mark.filterwarnings("ignore:none of .* was better than the plain model")
@pytest.mark.parametrize("kind", ["objective", "text_objective"])
def test_an_objective_of_ones_own_begins_at_the_surrogates_optimum(
    model: Model, modules: Modules, examples: list[Example], kind: str
) -> None:
    """Whatever is asked of the losses or texts: probes, the surrogate of the cross-entropy, then CMA-ES from there."""

    def own(seen: Sequence[object], given: Sequence[Example]) -> float:
        return float(np.max(seen)) if kind == "objective" else float(len(set(seen)))  # type: ignore[call-overload]

    result = adapt(model, modules, examples, Settings(budget=40), **{kind: own})  # type: ignore[arg-type]
    phases = [candidate.phase for candidate in result.trace]
    first = phases.index("CMA-ES")
    assert phases[:5] == ["plain model"] + ["probing"] * 4
    assert set(phases[5:first]) == {"model"}
    assert set(phases[first:]) == {"CMA-ES"}
    assert len(phases) == 40
    guides = np.array([candidate.weights for candidate in result.trace[5:first]])
    generation = np.array([candidate.weights for candidate in result.trace[first : first + 6]])
    # the first generation's step is 0.075: it lies around what the surrogate found, and not around the plain model
    away = np.abs(guides - generation.mean(axis=0)).max(axis=1).min()
    assert away < 0.2 < np.abs(generation.mean(axis=0)).max()
    paper = adapt(model, modules, examples, Settings(budget=12, composition="paper"), **{kind: own})  # type: ignore
    assert {candidate.phase for candidate in paper.trace} == {"plain model", "CMA-ES"}


def test_a_loss_that_is_not_a_number_is_the_worst(model: Model, modules: Modules, examples: list[Example]) -> None:
    values = iter([1.0, float("nan"), float("inf"), 0.5, 2.0])
    with pytest.warns(EdgeLorahubWarning, match="tries 3 of 4 modules"):
        result = adapt(
            model, modules, examples, Settings(budget=5, regularization=0), objective=lambda losses, _: next(values)
        )
    assert [c.loss for c in result.trace] == [1.0, WORST_LOSS, WORST_LOSS, 0.5, 2.0]
    json.dumps(record_json(result.adapter.record), allow_nan=False)
    assert next(values, None) is None  # and it is not called beside the search


def test_one_example_and_one_module(model: Model, module_folders: list[Path], examples: list[Example]) -> None:
    result = adapt(model, Modules.load(module_folders[:1]), examples[:1], Settings(budget=10))
    assert result.loss_after <= result.loss_before
    assert result.optimizer == "CMA-ES with a surrogate of the label logits"
    plain = adapt(model, Modules.load(module_folders[:1]), examples[:1], Settings(budget=10, surrogate=False))
    assert plain.optimizer == "CMA-ES (population 6, step size 0.075)"


def test_the_sidecar_says_what_went_in(model: Model, modules: Modules, examples: list[Example], tmp_path: Path) -> None:
    result = adapt(model, modules, examples, Settings(budget=11, seed=7, surrogate=False))
    result.adapter.save(tmp_path / "out")
    record = json.loads((tmp_path / "out" / SIDECAR).read_text())
    assert record["weights"] == result.weights
    assert [m["sha256"] for m in record["modules"]] == [m.sha256 for m in modules]
    assert record["settings"]["seed"] == 7
    assert len(record["trace"]) == 11
    assert record["examples"]["count"] == 5
    assert record["loss"]["after"] == result.loss_after
    assert load_adapter(tmp_path / "out", model.manifest).record == result.record


def test_a_long_text_is_cut_with_a_warning(model: Model, modules: Modules) -> None:
    long = [Example("w5 " * 60, "w6"), Example("w7", "w8")]
    with pytest.warns(EdgeLorahubWarning, match="text 1 has 61 tokens and is cut to 16"):
        adapt(model, modules, long, Settings(budget=6, max_input_tokens=16))


def test_nonsense_is_refused(model: Model, modules: Modules, examples: list[Example], tmp_path: Path) -> None:
    with pytest.raises(ExamplesError, match="no examples"):
        adapt(model, modules, [])
    with pytest.raises(SettingsError, match="give one of them"):
        adapt(model, modules, examples, objective=lambda *_: 0.0, text_objective=lambda *_: 0.0)
    with pytest.raises(SettingsError, match="composition 'sum' is unknown; choose exact or paper"):
        Settings(composition="sum")
    with pytest.raises(SettingsError, match="regularization must be at least 0"):
        Settings(regularization=-1)
    other = write_module(tmp_path / "other", "t5-small", seed=0, rank=1)
    with pytest.raises(ModuleMismatchError, match=r"other: .*not a slot|other: tensor .* has shape"):
        adapt(model, Modules.load([other]), examples)

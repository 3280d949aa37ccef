"""What used to be said wrongly, or not at all, before and after a search: each is one true line now."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from edge_lorahub import Example, Model, Modules, Settings, adapt, evaluate, load_evaluations
from edge_lorahub.errors import EdgeLorahubWarning, SettingsError
from edge_lorahub.search.advice import advise
from edge_lorahub.search.assisted import probes_within
from edge_lorahub.search.budget import budget_for
from edge_lorahub.search.settings import SearchSettings

Run = Callable[..., Result]


@pytest.fixture
def arguments(bundle: Path, examples_file: Path, module_folders: list[Path], tmp_path: Path) -> list[object]:
    return ["adapt", bundle, examples_file, "--modules", module_folders[0].parent, "--out", tmp_path / "out"]


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("modules", [1, 20, 343, 344, 400, 1000])
@pytest.mark.parametrize("start", [False, True])
def test_the_budget_that_is_chosen_tries_every_module(modules: int, start: bool) -> None:
    budget = budget_for(SearchSettings(), modules, start=start)
    assert probes_within(budget.candidates - start, modules) == modules
    assert budget.candidates >= 1 + modules + 60
    assert f"at most {budget.candidates - 1 - modules} that" in budget.reason
    assert not advise(SearchSettings(), modules, budget.candidates, start=start)


def test_a_budget_for_slow_candidates_says_when_it_takes_longer() -> None:
    slow = budget_for(SearchSettings(), 20, 30.0)
    assert (slow.candidates, slow.seconds) == (40, 1200)
    assert "more than fit into 10 minutes" in slow.reason
    assert "not to take longer than 10 minutes" in budget_for(SearchSettings(), 20, 10.0).reason


def test_the_advice_for_a_warm_start_counts_its_candidate(
    model: Model, modules: Modules, examples: list[Example]
) -> None:
    assert not advise(SearchSettings(), 24, 29)
    (line,) = advise(SearchSettings(), 24, 29, start=True)
    assert "tries 23 of 24 modules alone in a budget of 29 candidates" in line
    assert "a budget of 30 tries them all" in line
    enough = budget_for(SearchSettings(budget=6), 4).candidates
    with pytest.warns(EdgeLorahubWarning, match="tries 3 of 4"):
        found = adapt(model, modules, examples, budget=enough, start={modules.names[0]: 0.5})
    assert len(found.untried) == 1 or modules.names[0] not in found.untried


@pytest.mark.parametrize("optimizer", ["reference", "nevergrad:OnePlusOne"])
@pytest.mark.parametrize(
    ("option", "setting"),
    [
        (["--step-size", "0.5"], {"step_size": 0.5}),
        (["--population", "20"], {"population": 20}),
        (["--no-surrogate"], {"surrogate": False}),
        (["--no-racing"], {"racing": False}),
        (["--step-size", "0.075"], None),  # the default, and still given
    ],
)
def test_what_an_optimizer_has_no_use_for_is_refused(
    optimizer: str, option: list[str], setting: dict[str, Any] | None, fails: Callable[..., str],
    arguments: list[object],
) -> None:  # fmt: skip
    line = fails(*arguments, "--optimizer", optimizer, *option)
    assert f"--optimizer {optimizer} has no use for {option[0]}" in line
    if setting is not None:
        with pytest.raises(SettingsError, match=f"{optimizer} has no use for {next(iter(setting))}"):
            Settings(optimizer=optimizer, **setting)


def test_a_limit_beyond_the_file_is_said(run: Run, arguments: list[object], bundle: Path, examples_file: Path) -> None:
    said = words(run(*arguments, "--limit", 100, "--budget", 3, "--no-answers").stderr)
    assert "--limit 100, but there are only 5 examples; all of them are taken" in said
    assert "only 5 examples" in words(run("evaluate", bundle, examples_file, "--limit", 100).stderr)
    assert "only" not in run("evaluate", bundle, examples_file, "--limit", 5).stderr


def test_examples_kept_aside_that_are_learned_from_are_said(
    run: Run, arguments: list[object], examples_file: Path
) -> None:
    rows = examples_file.read_text().splitlines()
    examples_file.write_text("\n".join([*rows, rows[1], rows[0]]) + "\n")
    said = words(run(*arguments, "--holdout", 3, "--budget", 3, "--no-answers").stderr)
    assert "2 of 3 examples kept aside are also among those that are learned from" in said


def test_outputs_longer_than_answers_are_said(
    model: Model, run: Run, arguments: list[object], examples_file: Path, examples: list[Example]
) -> None:
    long = Example("w10 w11", " ".join(["w12"] * 80))
    with pytest.warns(EdgeLorahubWarning, match="1 of 6 outputs have more than 64 tokens .* --max-new-tokens 80"):
        evaluate(model, [*examples, long])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate(model, [*examples, long], max_new_tokens=80)
    # what is kept aside is answered at the length of its longest output
    with examples_file.open("a") as file:
        file.write(json.dumps({"input": long.input, "output": long.output}) + "\n")
    result = run(*arguments, "--holdout", 1, "--budget", 3, "--no-answers")
    assert result.exit_code == 0, result.output
    assert "can never match" not in result.stderr


def test_a_warm_start_that_ends_worse_than_the_plain_model_is_said(
    model: Model, modules: Modules, examples: list[Example]
) -> None:
    start = dict.fromkeys(modules.names, 1.5)
    with (
        pytest.warns(EdgeLorahubWarning, match="tries 0 of 4 modules alone"),
        pytest.warns(EdgeLorahubWarning, match="the adapter makes the examples worse; leave the weights to start"),
    ):
        found = adapt(model, modules, examples, budget=2, start=start, regularization=100.0)
    assert found.loss_after > found.loss_before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start": {"module-0": "0.5"}}, "start must map modules' names to numbers, got '0.5' for module-0"),
        ({"start": {"module-0": True}}, "start must map"),
        ({"start": {"module-0": 10**400}}, "start must map"),
        ({"start": [0.5]}, "start must map modules' names to numbers, got "),
        ({"evaluations": "t1"}, "evaluations must be those of `load_evaluations`, or a result's, got a str"),
        ({"modules": [1, None]}, "module 1 must be a folder or a Hub id, got a int"),
        ({"modules": 7}, "modules must be Modules, or a list of folders and Hub ids, got 7"),
        ({"settings": {"budget": 3}}, "settings must be Settings, got a dict"),
        ({"bound": 10**400}, "bound must be "),
        ({"regularization": 10**400}, "regularization must be "),
        ({"step_size": 10**400}, "step_size must be "),
    ],
)
def test_what_is_of_another_kind_is_named(
    arguments: dict[str, Any], message: str, model: Model, modules: Modules, examples: list[Example]
) -> None:
    given = {"modules": modules, "examples": examples, **arguments}
    with pytest.raises(SettingsError) as caught:
        adapt(model, **given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_earlier_adapters_and_whose_evaluations_are_taken(
    run: Run, arguments: list[object], tmp_path: Path
) -> None:
    for name in ("a", "b"):
        assert run(*arguments[:-1], tmp_path / name, "--budget", 7, "--no-answers").exit_code == 0
    both = ["--warm-start", tmp_path / "a", "--reuse", tmp_path / "b"]
    said = words(run(*arguments, "--budget", 7, "--no-answers", *both).stderr)
    assert f"--reuse {tmp_path / 'b'} is used, and not what the search for {tmp_path / 'a'} has seen" in said


@pytest.mark.parametrize("optimizer", ["reference", "nevergrad:OnePlusOne"])
def test_racing_is_not_spoken_of_where_nothing_races(optimizer: str, run: Run, arguments: list[object]) -> None:
    result = run(*arguments, "--optimizer", optimizer, "--budget", 4, "--no-answers")
    assert result.exit_code == 0, result.output
    assert "spared by racing" not in words(result.stdout)


def test_paper_composition_is_not_told_of_a_surrogate_that_it_cannot_have(
    model: Model, modules: Modules, examples: list[Example], run: Run, arguments: list[object], tmp_path: Path
) -> None:
    assert "with the surrogate" not in advise(Settings(composition="paper"), 20, 20)[0]
    assert "with the surrogate" in advise(Settings(surrogate=False), 20, 20)[0]
    assert run(*arguments, "--budget", 7, "--no-answers").exit_code == 0
    options = ["--warm-start", tmp_path / "out", "--budget", 3, "--no-answers", "--force"]
    for plain in (["--composition", "paper"], ["--no-surrogate"]):
        said = words(run(*arguments, *options, *plain).stderr)
        assert "evaluations are not used" not in said
    # where they are given themselves, it is said
    assert run(*arguments, "--budget", 7, "--no-answers", "--force").exit_code == 0
    known = load_evaluations(tmp_path / "out")
    for setting in ({"composition": "paper"}, {"surrogate": False}):
        with pytest.warns(EdgeLorahubWarning, match="evaluations are not used"):
            adapt(model, modules, examples, budget=3, evaluations=known, **setting)  # type: ignore[arg-type]


def test_help_names_the_files_of_examples_that_are_read(run: Run) -> None:
    said = words(run("adapt", "--help").stdout)
    assert "JSONL, JSON, CSV or TSV" in said


def test_weights_to_start_from_that_are_left_out(model: Model, modules: Modules, examples: list[Example]) -> None:
    """Some of them: with so many of their names. All of them: an option that would not be honored."""
    others = {f"other-{number}": 0.1 for number in range(24)}
    with pytest.raises(SettingsError, match=r"none would be used: other-0, .*, other-4 and 19 more; take"):
        adapt(model, modules, examples, budget=2, start=others)
    with pytest.warns(EdgeLorahubWarning) as caught:
        adapt(model, modules, examples, budget=2, start={**others, modules.names[0]: 0.5})
    assert any("are left out: other-0" in str(one.message) and "and 19 more" in str(one.message) for one in caught)


def test_warnings_are_of_the_line_that_called(model: Model, modules: Modules, examples: list[Example]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        adapt(model, modules, examples, budget=2, start={"strange": 1.0, modules.names[0]: 0.5})
    ours = [w for w in caught if issubclass(w.category, EdgeLorahubWarning)]
    assert len(ours) >= 2
    lines = Path(__file__).read_text().splitlines()
    for warning in ours:
        assert warning.filename == __file__
        assert "adapt(model, modules, examples, budget=2, start=" in lines[warning.lineno - 1]

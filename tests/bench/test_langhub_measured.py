"""How the natural-language hub is measured: few-shot prompts, intervals and tables, without a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_lorahub import Example, Prompt
from edge_lorahub.bench.langhub.bootstrap import difference
from edge_lorahub.bench.langhub.compared import METHODS, OURS
from edge_lorahub.bench.langhub.few_shot import with_examples
from edge_lorahub.bench.langhub.measuring import module_digest
from edge_lorahub.bench.langhub.table import tables
from edge_lorahub.errors import SettingsError

CHATML = Prompt(
    before="<s>system\nBe brief<e>\n<s>user\n",
    after="<e>\n<s>assistant\n",
    end="<e>\n",
    system_before="<s>system\n",
    system_after="<e>\n<s>user\n",
    adds_special_tokens=False,
)


def test_examples_are_turns_before_the_input() -> None:
    prompt = with_examples(CHATML, [Example("go", "went"), Example("see", "saw")])
    assert "".join(prompt.source("eat")) == (
        "<s>system\nBe brief<e>\n<s>user\ngo<e>\n<s>assistant\nwent<e>\n<s>user\nsee<e>\n<s>assistant\nsaw<e>\n"
        "<s>user\neat<e>\n<s>assistant\n"
    )
    assert with_examples(CHATML, []) == CHATML


@pytest.mark.parametrize("prompt", [Prompt(), replace(CHATML, before="<s>user\n"), replace(CHATML, end="</s>")])
def test_a_prompt_without_turns_takes_no_examples(prompt: Prompt) -> None:
    with pytest.raises(SettingsError, match="turns"):
        with_examples(prompt, [Example("go", "went")])


def test_a_difference_is_of_pairs() -> None:
    rng = np.random.default_rng(0)
    tasks = [rng.random(100) < share for share in (0.2, 0.5, 0.9)]
    assert difference(tasks, tasks) == (0.0, 0.0, 0.0)
    gain, low, high = difference([~task & True for task in tasks], tasks)
    assert low < gain < high
    none, every = [np.zeros(40, bool)] * 3, [np.ones(40, bool)] * 3
    assert difference(every, none) == (100.0, 100.0, 100.0)


def test_tasks_count_alike_and_are_drawn_too() -> None:
    """One task of three that is won whole: a third of the points, and drawn never or always, all of the range."""
    ours, others = (
        [np.ones(10, bool), np.zeros(200, bool), np.zeros(10, bool)],
        [np.zeros(n, bool) for n in (10, 200, 10)],
    )
    gain, low, high = difference(ours, others)
    assert gain == pytest.approx(100 / 3)
    assert low == 0
    assert high == pytest.approx(100)


def test_a_table_has_means_differences_and_tasks() -> None:
    found = {
        OURS: {"past-json": [{"right": "1111"}, {"right": "1100"}], "kind-bold": [{"right": "1"}, {"right": "1"}]},
        "zero-shot": {
            "past-json": [{"right": "0000"}, {"right": "0000"}],
            "kind-bold": [{"right": "0"}, {"right": "1"}],
        },
    }
    lines = tables(found).splitlines()
    assert lines[2] == "| ours | 87.5 | |  |"
    assert lines[3].startswith("| zero-shot | 25.0 | +62.5 | ")
    assert "| past-json | 75.0 | 0.0 |" in lines
    assert OURS in METHODS


def test_a_modules_digest_is_of_its_files_but_for_the_card(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    before = module_digest(tmp_path)
    (tmp_path / "README.md").write_text("card")
    assert module_digest(tmp_path) == before
    (tmp_path / "adapter_config.json").write_text("{} ")
    assert module_digest(tmp_path) != before

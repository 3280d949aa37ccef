"""Which modules are tried first, when not all can be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_lorahub import EdgeLorahubWarning, Example, Model, Modules, Settings, adapt
from edge_lorahub.learning.promise import change_of, promising
from edge_lorahub.testing.random_models import write_module

TASK = [Example("Translate into French: the cat", "le chat"), Example("Translate into French: a dog", "un chien")]
NAMES = ["wiki_qa-question", "wmt14-translate-fr-en", "glue_sst2-sentiment", "module-7", "french_translate"]


@pytest.fixture
def modules(tmp_path: Path) -> Modules:
    return Modules.load([write_module(tmp_path / name, "tiny", seed=i, rank=1) for i, name in enumerate(NAMES)])


def test_names_that_share_words_with_the_examples_come_first(modules: Modules) -> None:
    assert promising(modules, TASK)[:2] == [4, 1]


def test_the_others_keep_their_order(modules: Modules) -> None:
    assert promising(modules, TASK)[2:] == [0, 2, 3]
    assert promising(modules, [Example("???", "!")]) == [0, 1, 2, 3, 4]


def test_a_models_card_counts_and_its_metadata_does_not(modules: Modules) -> None:
    card = modules[3].folder / "README.md"
    card.write_text("---\nlicense: mit\ntags: cat\n---\n# Chat\nFrom French into le chat: the cat, un chien.\n")
    assert promising(modules, TASK)[0] == 3
    card.write_text("---\ntags: [french, chat, chien, cat, dog]\n---\nnothing\n")
    assert promising(modules, TASK)[0] == 4
    card.write_bytes(b"\xff\xfe\x00French")
    assert set(promising(modules, TASK)) == set(range(5))


def test_the_change_is_the_norm_of_the_scaled_products(tmp_path: Path) -> None:
    module = Modules.load(write_module(tmp_path / "m", "tiny", seed=3, rank=3, alpha=7, std=0.2))[0]
    deltas = [lora.scale * lora.b.astype(np.float64) @ lora.a.astype(np.float64) for _, lora in module.loras()]
    assert change_of(module) == pytest.approx(np.sqrt(sum((delta**2).sum() for delta in deltas)), rel=1e-12)


def test_among_modules_that_say_as_much_the_one_that_changes_more_is_first(modules: Modules) -> None:
    assert promising(modules, TASK, [1, 1, 2, 3, 1]) == [4, 1, 3, 2, 0]
    assert promising(modules, [Example("???", "!")], [1, 5, 2, 3, 4]) == [1, 4, 3, 2, 0]
    assert promising(modules, TASK, [1, 1, 1, 1, 1]) == promising(modules, TASK)


def test_what_hardly_changes_anything_is_last_whatever_it_says(modules: Modules) -> None:
    assert promising(modules, TASK, [1, 1, 2, 3, 0.001]) == [1, 3, 2, 0, 4]
    assert promising(modules, TASK, [0, 0, 0, 0, 0]) == promising(modules, TASK)
    assert promising(modules, TASK, [0, 0, 1, 0, 0]) == [2, 4, 1, 0, 3]


def test_a_search_with_few_candidates_tries_what_changes_the_model(
    model: Model, tmp_path: Path, examples: list[Example]
) -> None:
    stds = [1e-4, 0.1, 0.05, 0.2]
    folders = [write_module(tmp_path / f"m{i}", "tiny", seed=i, rank=2, std=std) for i, std in enumerate(stds)]
    with pytest.warns(EdgeLorahubWarning, match="tries 2 of 4 modules alone"):
        result = adapt(model, Modules.load(folders), examples, Settings(budget=3))
    tried = [int(np.flatnonzero(c.weights)[0]) for c in result.trace if c.phase == "probing"]
    assert tried == [3, 1]
    assert result.untried == ("m0", "m2")

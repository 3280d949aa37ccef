"""Which modules are tried first, when not all can be."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_lorahub import Example, Modules
from edge_lorahub.bench.random_models import write_module
from edge_lorahub.promise import promising

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

"""How the natural-language hub is measured: tables, without a model."""

from __future__ import annotations

from pathlib import Path

from edge_lorahub.bench.langhub.compared import METHODS, OURS
from edge_lorahub.bench.langhub.measuring import module_digest
from edge_lorahub.bench.langhub.table import tables


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

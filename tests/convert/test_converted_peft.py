"""`convert --to peft`: the same change of the weights, or the nearest one of a lower rank, measured once it is cut."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from edge_lorahub import Model, load_adapter, read_examples
from edge_lorahub.convert.converted_folder import RECORD
from edge_lorahub.runtime.adapter_loss import adapter_loss
from edge_lorahub.testing.random_models import write_module

Run = Callable[..., Result]


def delta(folder: Path) -> dict[str, np.ndarray]:
    """scale B A by layer, in float64."""
    loras = load_adapter(folder).loras()
    return {layer: lora.scale * lora.b.astype(np.float64) @ lora.a.astype(np.float64) for layer, lora in loras}


def test_the_change_of_the_weights_is_the_same(run: Run, module_folders: list[Path], tmp_path: Path) -> None:
    result = run("convert", module_folders[0], "--to", "peft", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors", RECORD,
    ]  # fmt: skip
    before, after = delta(module_folders[0]), delta(tmp_path / "out")
    assert before.keys() == after.keys()
    for layer, change in before.items():
        np.testing.assert_allclose(after[layer], change, rtol=0, atol=1e-6 * np.abs(change).max())


def test_a_lower_rank_is_the_nearest_one(run: Run, module_folders: list[Path], tmp_path: Path) -> None:
    """Its error is that of the singular values that numpy finds in the dense change (Eckart-Young)."""
    result = run("convert", module_folders[0], "--to", "peft", "--rank", 3, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    before, after = delta(module_folders[0]), delta(tmp_path / "out")
    values = [np.linalg.svd(change, compute_uv=False) for change in before.values()]
    lost = sum((each[3:] ** 2).sum() for each in values)
    best = np.sqrt(lost / sum((each**2).sum() for each in values))
    squares = sum(((before[layer] - after[layer]) ** 2).sum() for layer in before)
    found = np.sqrt(squares / sum((change**2).sum() for change in before.values()))
    assert found == pytest.approx(best, rel=1e-4)
    record = json.loads((tmp_path / "out" / RECORD).read_text())
    assert record["relative_error"] == pytest.approx(best, rel=1e-4)
    assert all(np.linalg.matrix_rank(change, tol=1e-5) <= 3 for change in after.values())


def test_the_loss_that_is_told_is_that_of_what_is_written(
    run: Run, bundle: Path, model: Model, module_folders: list[Path], examples_file: Path, tmp_path: Path
) -> None:
    arguments = ("--to", "peft", "--rank", 1, "--bundle", bundle, "--examples", examples_file)
    result = run("convert", module_folders[0], *arguments, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    told = re.search(r"loss on 5 examples: ([\d.]+) as it is written, ([\d.]+) before", result.stdout)
    assert told is not None, result.output
    examples = read_examples(examples_file)
    after, before = (
        adapter_loss(model, load_adapter(folder), examples) for folder in (tmp_path / "out", module_folders[0])
    )
    assert float(told[1]) == pytest.approx(after, abs=6e-5)
    assert float(told[2]) == pytest.approx(before, abs=6e-5)
    assert after != pytest.approx(before, abs=1e-3)


def test_where_nothing_is_truncated_the_loss_is_told_once(
    run: Run, bundle: Path, model: Model, module_folders: list[Path], examples_file: Path, tmp_path: Path
) -> None:
    arguments = ("--to", "peft", "--rank", 99, "--bundle", bundle, "--examples", examples_file)
    result = run("convert", module_folders[0], *arguments, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    loss = adapter_loss(model, load_adapter(module_folders[0]), read_examples(examples_file))
    assert [line for line in result.stdout.splitlines() if "loss" in line] == [f"loss on 5 examples: {loss:.4f}"]
    assert "loss" not in json.loads((tmp_path / "out" / RECORD).read_text())


def test_without_examples_no_loss_is_told(run: Run, module_folders: list[Path], tmp_path: Path) -> None:
    result = run("convert", module_folders[0], "--to", "peft", "--rank", 3, "--out", tmp_path / "out")
    assert "loss is not known" in result.stdout
    assert "loss" not in json.loads((tmp_path / "out" / RECORD).read_text())


def test_what_was_learned_here_keeps_its_record(
    run: Run, bundle: Path, examples_file: Path, module_folders: list[Path], tmp_path: Path
) -> None:
    named = [part for module in module_folders for part in ("-m", module)]
    adapt = run("adapt", bundle, examples_file, *named, "--budget", 12, "--no-answers", "--out", tmp_path / "learned")
    assert adapt.exit_code == 0, adapt.output
    result = run("convert", tmp_path / "learned", "--to", "peft", "--rank", 2, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    record, learned = load_adapter(tmp_path / "out").record, load_adapter(tmp_path / "learned").record
    assert record is not None
    assert learned is not None
    assert record.modules == learned.modules
    assert record.truncation is not None
    assert record.truncation.rank == 2
    assert not (tmp_path / "out" / "evaluations.safetensors").exists()


def test_force_overwrites_a_conversion_and_nothing_else(
    run: Run, fails: Callable[..., str], module_folders: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    convert = ("convert", module_folders[0], "--to", "peft", "--out", out)
    assert run(*convert).exit_code == 0
    assert "exists already" in fails(*convert)
    assert run(*convert, "--rank", 3, "--force").exit_code == 0
    assert (
        "nothing is truncated by --rank 99, as the adapter has rank 4" in run(*convert, "--rank", 99, "--force").stdout
    )
    assert "rank" not in json.loads((out / "edge_lorahub_conversion.json").read_text())
    (out / "mine.txt").write_text("a note")
    assert "mine.txt" in fails(*convert, "--force")
    (out / "mine.txt").unlink()
    (out / "adapter_config.json").write_text("{}")
    assert "is not what" in fails(*convert, "--force")
    other = write_module(tmp_path / "other", "tiny", seed=9)
    assert "not be overwritten" in fails("convert", module_folders[0], "--to", "peft", "--out", other, "--force")
    file = tmp_path / "file"
    file.write_text("a note")
    assert "not a folder" in fails("convert", module_folders[0], "--to", "peft", "--out", file, "--force")
    assert file.read_text() == "a note"

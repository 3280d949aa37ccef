"""What an adapter's record says of its matrices, the bundle, modules and examples is checked when it is used again."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bundles import sign
from click.testing import Result
from safetensors.numpy import load_file, save_file

from edge_lorahub import Example, Modules, Settings, adapt, load, load_adapter
from edge_lorahub.bundle.manifest import MANIFEST, read_manifest
from edge_lorahub.composition.record_file import SIDECAR
from edge_lorahub.convert.bake import bake
from edge_lorahub.errors import EdgeLorahubWarning, ModuleFileError, OutputExistsError
from edge_lorahub.export import export
from edge_lorahub.testing.random_models import write_checkpoint, write_module


@pytest.fixture(scope="module")
def adapter(
    bundle: Path, module_folders: list[Path], examples: list[Example], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("adapter") / "learned"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeLorahubWarning)
        result = adapt(load(bundle, threads=1), Modules.load(module_folders), examples, Settings(budget=8))
    result.adapter.save(out)
    return out


def warned(adapter: Path, bundle: Path) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_adapter(adapter, read_manifest(bundle))
    return [str(one.message) for one in caught]


def test_the_same_bundle_says_nothing(adapter: Path, bundle: Path) -> None:
    assert warned(adapter, bundle) == []


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors", "evaluations.safetensors"])
def test_force_spares_an_adapter_of_which_a_file_is_somebody_elses(adapter: Path, tmp_path: Path, file: str) -> None:
    copy = Path(shutil.copytree(adapter, tmp_path / "copy"))
    ours = load_adapter(copy)
    (copy / file).write_text('{"mine": 1}')
    with pytest.raises(OutputExistsError, match=f"its {file} is not what edge_lorahub.json says"):
        ours.save(copy, force=True)
    assert (copy / file).read_text() == '{"mine": 1}'
    shutil.rmtree(copy)
    shutil.copytree(adapter, copy)
    ours.save(copy, force=True)


def test_matrices_that_were_changed_are_refused(
    adapter: Path, bundle: Path, tmp_path: Path, fails: Callable[..., str], run: Callable[..., Result]
) -> None:
    copy = Path(shutil.copytree(adapter, tmp_path / "copy"))
    tensors = load_file(copy / "adapter_model.safetensors")
    key = min(tensors)
    tensors[key].view(np.uint32)[0, 0] ^= 1  # one bit
    save_file(tensors, copy / "adapter_model.safetensors")
    for line in (fails("generate", bundle, "w3", "--adapter", copy), fails("inspect", copy)):
        assert "not the matrices that edge_lorahub.json was written for" in line
    (copy / "edge_lorahub.json").unlink()
    assert run("inspect", copy).exit_code == 0


def test_a_scale_that_was_changed_is_refused(adapter: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(adapter, tmp_path / "copy"))
    settings = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps(settings | {"lora_alpha": 2 * settings["lora_alpha"]}))
    with pytest.raises(ModuleFileError, match="not the matrices"):
        load_adapter(copy)


def test_a_truncated_adapter_has_a_digest_of_its_own(adapter: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeLorahubWarning)
        smaller, _ = load_adapter(adapter).truncated(1)
    smaller.save(tmp_path / "smaller")
    assert json.loads((tmp_path / "smaller" / SIDECAR).read_text())["adapter_sha256"] == smaller.sha256
    assert load_adapter(tmp_path / "smaller").record == smaller.record


def test_another_bundle_is_warned_about_by_what_differs(
    adapter: Path, bundle: Path, checkpoint: Path, module_folders: list[Path], tmp_path: Path
) -> None:
    export(checkpoint, tmp_path / "int8", precision="int8")
    assert warned(adapter, tmp_path / "int8") == [
        "learned: learned with weights in fp32, and this bundle's are in int8"
    ]
    other = write_checkpoint(tmp_path / "tiny", "tiny", seed=1)
    export(other, tmp_path / "other")
    (line,) = warned(adapter, tmp_path / "other")
    assert line.startswith("learned: learned with other weights (sha256 ")
    bake(bundle, load_adapter(module_folders[0]), tmp_path / "baked")
    assert warned(adapter, tmp_path / "baked") == [
        "learned: learned with other weights; into this bundle's module-0 was baked"
    ]
    bake(bundle, load_adapter(adapter), tmp_path / "itself")
    assert warned(adapter, tmp_path / "itself") == []  # said when it is put in


def test_what_else_differs_in_a_bundle_is_named_in_one_warning(
    adapter: Path, bundle: Path, checkpoint: Path, tmp_path: Path
) -> None:
    export(checkpoint, tmp_path / "again")
    assert warned(adapter, tmp_path / "again") == []
    export(checkpoint, tmp_path / "slots", slots=["q", "v", "k"])
    (line,) = warned(adapter, tmp_path / "slots")
    assert line.startswith(
        "learned: learned with other graphs than this bundle's, as other slots or another version have"
    )
    other = Path(shutil.copytree(bundle, tmp_path / "tokenizer"))
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    (other / "tokenizer.json").write_text(json.dumps(tokenizer, indent=3))
    sign(other)
    manifest = json.loads((other / MANIFEST).read_text())
    (other / MANIFEST).write_text(json.dumps(manifest | {"model": manifest["model"] | {"forced_bos_token_id": 7}}))
    assert warned(adapter, other) == [
        "learned: learned with another tokenizer.json than this bundle's; and with other settings of the model: "
        "forced_bos_token_id None (here 7)"
    ]


def test_the_commands_warn(
    adapter: Path, bundle: Path, checkpoint: Path, examples: list[Example], examples_file: Path,
    module_folders: list[Path], run: Callable[..., Result], tmp_path: Path,
) -> None:  # fmt: skip
    export(write_checkpoint(tmp_path / "tiny", "tiny", seed=1), tmp_path / "other")

    def warnings_of(*arguments: object) -> list[str]:
        result = run(*arguments)
        assert result.exit_code == 0, result.output
        return [line for line in result.stderr.splitlines() if line.startswith("Warning: learned: ")]

    starting = ("adapt", "--budget", 2, "--no-answers", "--warm-start", adapter, examples_file)
    modules = [part for folder in module_folders for part in ("--module", folder)]
    for command in (
        ("generate", tmp_path / "other", "w3", "--adapter", adapter),
        ("bake", tmp_path / "other", adapter, tmp_path / "baked"),
        (starting[0], tmp_path / "other", *starting[1:], *modules, "--out", tmp_path / "out"),
    ):
        (line,) = warnings_of(*command)
        assert "learned with other weights (sha256 " in line
    # modules of the same names that are others
    assert warnings_of(starting[0], bundle, *starting[1:], *modules, "--out", tmp_path / "same") == []
    others = [write_module(tmp_path / "others" / folder.name, "tiny", seed=9) for folder in module_folders[:2]]
    named = [part for folder in [*others, *module_folders[2:]] for part in ("--module", folder)]
    (line,) = warnings_of(starting[0], bundle, *starting[1:], *named, "--out", tmp_path / "changed")
    assert (
        "learned with other modules of these names, so their weights may mean nothing here: module-0 (sha256 " in line
    )
    assert "module-1" in line
    assert "module-2" not in line
    # examples that it learned from
    held_out = tmp_path / "held-out.jsonl"
    rows = [json.dumps({"input": f"w{i} w4", "output": "w5"}) for i in range(40, 45)]
    held_out.write_text("\n".join(rows))
    assert warnings_of("evaluate", bundle, held_out, "--adapter", adapter) == []
    held_out.write_text(examples_file.read_text() + "\n".join(rows))
    (line,) = warnings_of("evaluate", bundle, held_out, "--adapter", adapter)
    assert line == (
        "Warning: learned: learned from 5 of these 10 examples, so the measure is too good: example 1, 2, 3, 4, 5; "
        "evaluate's --skip 5 more leaves them out"
    )
    (line,) = warnings_of("evaluate", bundle, held_out, "--adapter", adapter, "--shuffle-seed", 3)
    assert "learned from 5 of these 10 examples" in line
    assert "--skip" not in line
    assert warnings_of("evaluate", bundle, held_out, "--adapter", adapter, "--skip", 5) == []

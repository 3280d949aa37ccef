"""Every error that a user can meet: one line, exit code 2, and nothing on disk changed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest
from bundles import sign
from click.testing import Result
from safetensors.numpy import load_file, save_file

from edge_lorahub.cli import main, start
from edge_lorahub.cli.main import cli
from edge_lorahub.testing.random_models import write_module

Fails = Callable[..., str]


def changed(folder: Path, to: Path, file: str, change: Callable[[bytes], bytes]) -> Path:
    """A copy of a folder in which one file is another."""
    shutil.copytree(folder, to)
    (to / file).write_bytes(change((to / file).read_bytes()))
    return to


def settings(folder: Path, to: Path, file: str = "adapter_config.json", **fields: object) -> Path:
    return changed(folder, to, file, lambda data: json.dumps(json.loads(data) | fields).encode())


@pytest.fixture
def adapt(fails: Fails, bundle: Path, examples_file: Path, tmp_path: Path) -> Fails:
    """An adaptation with these modules that must fail and leave nothing."""

    def call(*modules: Path, examples: Path = examples_file, to: Path = bundle) -> str:
        before = sorted(p.name for p in tmp_path.iterdir())
        named = [part for module in modules for part in ("--module", module)]
        line = fails("adapt", to, examples, *named, "--out", tmp_path / "out", "--budget", 2)
        assert sorted(p.name for p in tmp_path.iterdir()) == before
        return line

    return call


def test_a_git_lfs_pointer(adapt: Fails, shared: Path) -> None:
    line = adapt(shared / "bad-adapters" / "lfs-pointer")
    assert "adapter_model.safetensors: a Git LFS pointer" in line
    assert "git lfs pull" in line


def test_missing_paths(adapt: Fails, fails: Fails, bundle: Path, module_folders: list[Path], tmp_path: Path) -> None:
    assert "nothing: no such folder, and not a Hub id" in adapt(tmp_path / "nothing")
    assert "no such file of examples" in adapt(module_folders[0], examples=tmp_path / "nothing.jsonl")
    assert "no such bundle; make one with `edge-lorahub export" in adapt(module_folders[0], to=tmp_path / "nothing")
    assert "no such folder" in fails("export", tmp_path / "nothing", tmp_path / "out")
    assert "no modules" in adapt()
    (tmp_path / "empty").mkdir()
    assert "no such file" in adapt(tmp_path / "empty")
    assert "neither model.safetensors nor" in fails("export", copy_config(bundle, tmp_path), tmp_path / "out")


def copy_config(bundle: Path, tmp_path: Path) -> Path:
    """A checkpoint folder without weights."""
    from edge_lorahub.testing.random_models import write_checkpoint

    folder = write_checkpoint(tmp_path / "no-weights", "tiny")
    (folder / "model.safetensors").unlink()
    return folder


def test_truncated_files(
    adapt: Fails, fails: Fails, module_folders: list[Path], checkpoint: Path, tmp_path: Path
) -> None:
    half = changed(
        module_folders[0], tmp_path / "half", "adapter_model.safetensors", lambda data: data[: len(data) // 2]
    )
    assert "half/adapter_model.safetensors: not a complete safetensors file" in adapt(half)
    less = changed(checkpoint, tmp_path / "less", "model.safetensors", lambda data: data[:-100])
    assert "less/model.safetensors: not a complete safetensors file" in fails("export", less, tmp_path / "out")
    empty = changed(module_folders[0], tmp_path / "empty", "adapter_config.json", lambda data: b"")
    assert "empty/adapter_config.json: not valid JSON" in adapt(empty)


def test_a_wrong_shape_names_the_tensor_both_shapes_and_the_folder(adapt: Fails, tmp_path: Path) -> None:
    wide = write_module(tmp_path / "wide", "flan-t5-small", seed=0, rank=2)
    line = adapt(wide)
    assert "wide: tensor decoder.block.0.layer.0.SelfAttention.q.lora_A has shape (2, 512)" in line
    assert "takes (2, 32)" in line


def test_modules_of_other_kinds(adapt: Fails, module_folders: list[Path], tmp_path: Path) -> None:
    gpt2 = settings(
        module_folders[0], tmp_path / "gpt2", task_type="CAUSAL_LM", fan_in_fan_out=True, target_modules=["c_attn"]
    )
    key = "base_model.model.transformer.h.0.attn.c_attn.lora_{}.weight"
    save_file({key.format(side): np.ones((4, 4), np.float32) for side in "AB"}, gpt2 / "adapter_model.safetensors")
    line = adapt(gpt2)
    assert "gpt2: transformer.h.0.attn.c_attn is not a slot of the bundle, which has q,v of 'tiny'" in line
    assert "the module is for another model" in line
    prefix = settings(module_folders[0], tmp_path / "prefix", peft_type="PREFIX_TUNING")
    assert "peft_type 'PREFIX_TUNING' is not supported" in adapt(prefix)


def test_a_module_inside_an_unknown_wrapper(adapt: Fails, module_folders: list[Path], tmp_path: Path) -> None:
    for prefix, words in (
        ("student.base_model.model.", "'student' before base_model.model is not of peft"),
        ("base_model.model.student.net.", "'student.net' is of a model around the one that was trained"),
        ("student.", "'student' is of a model around the one that was trained"),
    ):
        folder = tmp_path / "wrapped"
        shutil.copytree(module_folders[0], folder)
        tensors = load_file(folder / "adapter_model.safetensors")
        renamed = {prefix + key.removeprefix("base_model.model."): tensor for key, tensor in tensors.items()}
        save_file(renamed, folder / "adapter_model.safetensors")
        assert words in adapt(folder)
        shutil.rmtree(folder)


def test_numbers_that_are_not_finite(
    adapt: Fails, fails: Fails, bundle: Path, examples_file: Path, module_folders: list[Path], tmp_path: Path
) -> None:
    for name, value, fields in (("nan", np.nan, {}), ("infinite", np.inf, {}), ("scale", 1.0, {"lora_alpha": 1e300})):
        folder = settings(module_folders[0], tmp_path / name, **fields)
        tensors = load_file(folder / "adapter_model.safetensors")
        key = sorted(tensors)[3]
        tensors[key][0, 0] = value
        save_file(tensors, folder / "adapter_model.safetensors")
        for line in (
            adapt(folder),
            fails("generate", bundle, "w3", "--adapter", folder),
            fails("evaluate", bundle, examples_file, "--adapter", folder),
            fails("bake", bundle, folder, tmp_path / "out"),
            fails("inspect", folder),
        ):
            assert "adapter_model.safetensors: tensor base_model.model." in line
            assert "not finite in float32" in line
            assert key in line or fields
        assert not (tmp_path / "out").exists()


def test_a_folder_of_another_kind(
    adapt: Fails, fails: Fails, checkpoint: Path, bundle: Path, module_folders: list[Path], tmp_path: Path
) -> None:
    module = module_folders[0]
    assert "a folder of modules, not a module; name one of them, as" in adapt(module.parent)
    assert "a folder of modules, not a module" in fails("generate", bundle, "w3", "--adapter", module.parent)
    assert "a folder of modules; name one of them" in fails("inspect", module.parent)
    assert f"{bundle}: a bundle, not a LoRA module" in adapt(bundle)
    assert f"{checkpoint}: a checkpoint, not a LoRA module" in adapt(checkpoint)
    assert f"name its folder, {module}" in adapt(module / "adapter_model.safetensors")
    for wrong, words in (
        (checkpoint, f"{checkpoint}: a checkpoint, not a bundle; make one with `edge-lorahub export"),
        (module, f"{module}: a LoRA module, not a bundle"),
        (bundle / "encoder.onnx", f"a file of a bundle; name its folder, {bundle}"),
        ("google/flan-t5-base", "no such bundle; make one with `edge-lorahub export google/flan-t5-base flan-t5-base`"),
    ):
        assert words in fails("generate", wrong, "w3")
        assert words in fails("bake", wrong, module, tmp_path / "out")


def test_advice_names_options_that_the_command_has(
    fails: Fails, bundle: Path, module_folders: list[Path], examples_file: Path, tmp_path: Path
) -> None:
    module, out = module_folders[0], tmp_path / "out"
    for arguments in (
        ("bake", module, module, out),
        ("convert", module, "--to", "peft", "--rank", 1, "--examples", examples_file, "--bundle", module, "--out", out),
        ("hub", "add", "--modules", module, "--store", tmp_path / "store"),
        ("compare", bundle, examples_file, "--modules", module, "--out", out),
    ):
        line = fails(*arguments)
        found: click.Command = cli
        for word in arguments[:2]:
            found = found.get_command(click.Context(found), str(word)) if isinstance(found, click.Group) else found
        has = {option for parameter in found.params for option in parameter.opts} | {"--help"}
        assert set(re.findall(r"--[a-z-]+", re.sub("`.*?`", "", line))) <= has, line


def test_examples_that_are_none(adapt: Fails, module_folders: list[Path], tmp_path: Path) -> None:
    for name, content, words in (
        ("empty.jsonl", "", "no examples in it"),
        ("no-output.jsonl", '{"input": "w3", "output": "w4"}\n{"input": "w5"}', "line 2: no input with an output"),
        ("empty-output.jsonl", '{"input": "w3", "output": " "}', "line 1: 'output' must be a text that is not empty"),
        ("number.jsonl", '{"input": 3, "output": "w4"}', "line 1: 'input' must be a text"),
        ("broken.jsonl", '{"input": "w3", "output": "w4"}\n\n{"input"', "line 3: not valid JSON"),
        ("list.jsonl", "[1, 2]", "example 1: expected an object, got a int"),
        ("broken.json", "{", "not valid JSON"),
        ("other.json", '{"a": 1}', "expected a list of examples"),
        ("half.jsonl", '{"input": "\\ud83d", "output": "w4"}', "text 1: not valid Unicode"),
    ):
        (tmp_path / name).write_text(content)
        assert words in adapt(module_folders[0], examples=tmp_path / name)
    (tmp_path / "latin.jsonl").write_bytes('{"input": "é", "output": "w4"}'.encode("latin-1"))
    assert "not UTF-8 text" in adapt(module_folders[0], examples=tmp_path / "latin.jsonl")


def test_slots(adapt: Fails, fails: Fails, checkpoint: Path, tmp_path: Path) -> None:
    assert "unknown slot 'wi'; this checkpoint has q, k, v, o, wi_0, wi_1, wo" in fails(
        "export", checkpoint, tmp_path / "out", "--slots", "q,wi"
    )
    keys = write_module(tmp_path / "keys", "tiny", seed=0, kinds=("q", "k"))
    assert "is not a slot of the bundle, which has q,v of 'tiny'; export it again with --slots q,v,k" in adapt(keys)


def test_output_folders(
    run: Callable[..., Result], fails: Fails, checkpoint: Path, bundle: Path, examples_file: Path,
    module_folders: list[Path], tmp_path: Path,
) -> None:  # fmt: skip
    out = tmp_path / "out"
    assert run("export", checkpoint, out).exit_code == 0
    assert "exists already; choose another folder, or overwrite it with --force" in fails("export", checkpoint, out)
    assert run("export", checkpoint, out, "--force").exit_code == 0
    (out / "notes.txt").write_text("mine")
    line = fails("export", checkpoint, out)
    assert "exists already, and it has notes.txt; choose another, or remove this one yourself" in line
    assert "--force" not in line, "which would refuse"
    assert "will not be overwritten: it has notes.txt" in fails("export", checkpoint, out, "--force")
    assert (out / "notes.txt").read_text() == "mine"
    module = tmp_path / "module"
    shutil.copytree(module_folders[0], module)
    before = {p.name: p.read_bytes() for p in module.iterdir()}
    arguments = ("adapt", bundle, examples_file, "--module", module_folders[1], "--budget", 2)
    assert "it has no edge_lorahub.json" in fails(*arguments, "--out", module, "--force")
    assert {p.name: p.read_bytes() for p in module.iterdir()} == before
    assert "is a file, not a folder" in fails(*arguments, "--out", examples_file / "below")
    assert "not a folder" in fails(*arguments, "--out", examples_file, "--force")
    assert "a folder, where a file" in fails("evaluate", bundle, examples_file, "--predictions", tmp_path)


def test_checkpoints_of_other_families(fails: Fails, checkpoint: Path, tmp_path: Path) -> None:
    for family in ("bert", "phi3"):
        other = settings(checkpoint, tmp_path / family, "config.json", model_type=family)
        assert f"model_type '{family}' is not supported" in fails("export", other, tmp_path / "out")
    llama = settings(checkpoint, tmp_path / "llama", "config.json", model_type="llama")
    assert "T5ForConditionalGeneration (architectures) is not supported, only Llama" in fails(
        "export", llama, tmp_path / "out"
    )


def test_no_tokenizer_and_no_extra(
    fails: Fails, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "sentencepiece-only"
    shutil.copytree(checkpoint, folder)
    (folder / "tokenizer.json").unlink()
    assert "neither tokenizer.json nor spiece.model" in fails("export", folder, tmp_path / "out")
    (folder / "spiece.model").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert "pip install 'edge-lorahub[export]'" in fails("export", folder, tmp_path / "out")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "pip install 'edge-lorahub[verify]'" in fails("export", checkpoint, tmp_path / "out", "--verify")
    assert not (tmp_path / "out").exists()


def test_tokenizers_of_other_models(fails: Fails, checkpoint: Path, tmp_path: Path) -> None:
    from edge_lorahub.testing.random_models import word_tokenizer

    for name, change, words in (
        ("large", word_tokenizer(500).to_str(), "the tokenizer has id 499, but the model's vocab_size is 128"),
        ("broken", "{}", "not a tokenizer file"),
    ):
        folder = changed(checkpoint, tmp_path / name, "tokenizer.json", lambda _, text=change: text.encode())
        assert words in fails("export", folder, tmp_path / "out")


def test_damaged_bundles(fails: Fails, bundle: Path, tmp_path: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    model = manifest["model"]
    for name, file, content, words in (
        ("not-json", "manifest.json", b"{", "not valid JSON"),
        ("deep", "manifest.json", b"[" * 200_000, "not valid JSON"),
        ("version", "manifest.json", json.dumps(manifest | {"format_version": 9}).encode(), "update edge-lorahub"),
        ("older", "manifest.json", json.dumps(manifest | {"format_version": 1}).encode(), "export the bundle again"),
        ("no-slots", "manifest.json", json.dumps({**manifest, "slots": 3}).encode(), "missing or wrong"),
        ("text", "manifest.json", json.dumps(manifest | {"model": model | {"heads": "3"}}).encode(), "heads is '3'"),
        ("layers", "manifest.json", json.dumps(manifest | {"model": model | {"layers": 3}}).encode(),
         "its graphs and its manifest differ"),
        ("encoder", "encoder.plain.onnx", (bundle / "encoder.plain.onnx").read_bytes()[:-900],
         "encoder.plain.onnx: not what the manifest says"),
        ("weights", "weights.bin", (bundle / "weights.bin").read_bytes()[:-900],
         "weights.bin: not the weights that the manifest says"),
        ("tokenizer", "tokenizer.json", b"[]", "tokenizer.json: not what the manifest says"),
    ):  # fmt: skip
        copy = changed(bundle, tmp_path / name, file, lambda _, data=content: data)
        assert words in fails("generate", copy, "w3")
    for name, words in (("encoder", "encoder.plain.onnx: cannot be loaded"), ("tokenizer", "not a tokenizer file")):
        sign(tmp_path / name)
        assert words in fails("generate", tmp_path / name, "w3")
    (tmp_path / "tokenizer" / "encoder.onnx").unlink()
    assert "encoder.onnx is missing" in fails("generate", tmp_path / "tokenizer", "w3")
    byte = changed(bundle, tmp_path / "byte", "weights.bin", lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    assert "weights.bin: not what the manifest says" in fails("inspect", byte, "--check")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--optimizer", "adam"), "'adam' is unknown; choose cma, reference or nevergrad:NAME"),
        (("--optimizer", "nevergrad:CMAA"), "near it: CMA"),
        (("--optimizer", "nevergrad:"), "no optimizer ''"),
        (("--budget", "0"), "'0' is no budget; write auto, or a number of candidates from 1"),
        (("--budget", "many"), "'many' is no budget"),
        (("--budget", "2.5"), "'2.5' is no budget"),
        (("--holdout", "5"), "keeping 5 of 5 examples aside leaves none to learn from"),
        (("--holdout", "1.5"), "'1.5' is neither a number of examples nor a share; write 40, 0.2 or 20%"),
        (("--optimizer", "reference", "--surrogate"), "a surrogate assists the optimizer cma in exact composition"),
        (("--composition", "paper", "--surrogate"), "a surrogate assists the optimizer cma in exact composition"),
        (("--seed", "-1"), "seed must be from 0"),
        (("--composition", "sum"), "'sum' is not one of 'exact', 'paper'"),
        (("--step-size", "0"), "step_size must be a positive number"),
        (("--step-size", "1e308"), "step_size must be at most 3, all of the range"),
        (("--population", "100000000"), "population must be from 2 to 10000"),
        (("--population", "1"), "population must be from 2 to 10000"),
        (("--regularization", "nan"), "regularization must be at least 0"),
        (("--max-input-tokens", "1"), "max_input_tokens must be at least 2"),
        (("--threads", "100000"), "threads must be from 1 to 256"),
        (("--rank", "0"), "0 is not in the range"),
        (("--limit", "0"), "0 is not in the range"),
        (("--nonsense",), "No such option"),
    ],
)
def test_options(
    fails: Fails, bundle: Path, examples_file: Path, module_folders: list[Path], tmp_path: Path,
    options: tuple[str, ...], words: str,
) -> None:  # fmt: skip
    arguments = ("adapt", bundle, examples_file, "--module", module_folders[0], "--out", tmp_path / "out")
    assert words in fails(*arguments, *options)
    assert not (tmp_path / "out").exists()


def test_the_same_module_twice(adapt: Fails, module_folders: list[Path]) -> None:
    assert "the same module twice" in adapt(module_folders[0], module_folders[0])


def test_ids_that_the_hub_would_not_take(fails: Fails) -> None:
    for name in ("a--b", "x..y", "modèle/x", "name.", "my-module.git", "a/b/c", "x" * 200):
        assert "not a Hub id" in fails("inspect", name)


def test_a_defect_is_one_line_and_exit_code_70(
    run: Callable[..., Result], bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr("edge_lorahub.runtime.generation.generate_with", broken)
    monkeypatch.delenv("EDGE_LORAHUB_TRACEBACK", raising=False)
    result = run("generate", bundle, "w3")
    assert result.exit_code == 70
    assert result.stderr.startswith("Error: a defect in edge-lorahub: RuntimeError: first line second line")
    assert len(result.stderr.splitlines()) == 1


def test_an_interrupted_adaptation_leaves_nothing(
    run: Callable[..., Result], bundle: Path, examples_file: Path, module_folders: list[Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from edge_lorahub.runtime.scoring import Scorer

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Scorer, "batch", interrupted)
    before = sorted(p.name for p in tmp_path.iterdir())
    result = run("adapt", bundle, examples_file, "--module", module_folders[0], "--out", tmp_path / "out")
    assert result.exit_code == 130
    assert "Traceback" not in result.output
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_the_predictions_in_the_place_of_the_examples(fails: Fails, bundle: Path, examples_file: Path) -> None:
    before = examples_file.read_text()
    line = fails("evaluate", bundle, examples_file, "--predictions", examples_file.parent / "." / examples_file.name)
    assert "the examples themselves; name another file for the predictions" in line
    assert examples_file.read_text() == before


def test_baking_into_the_bundle_itself(fails: Fails, bundle: Path, module_folders: list[Path], tmp_path: Path) -> None:
    copy = shutil.copytree(bundle, tmp_path / "copy")
    line = fails("bake", copy, module_folders[0], tmp_path / "copy" / ".." / "copy", "--force")
    assert "the bundle itself; baking makes a copy, so name another folder" in line


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems take no such name")
def test_a_module_whose_name_is_not_utf_8(
    fails: Fails, bundle: Path, examples_file: Path, module_folders: list[Path], tmp_path: Path
) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff"))
    shutil.copytree(module_folders[0], odd)
    line = fails("adapt", bundle, examples_file, "--module", odd, "--out", tmp_path / "out")
    assert "a name that is not UTF-8; rename the folder" in line


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_what_cannot_be_printed_ends_in_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "edge_lorahub", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["Error: No space left on device"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_that_a_library_makes_an_error_of_is_no_defect(
    monkeypatch: pytest.MonkeyPatch, run: Callable[..., Result], bundle: Path, number: int, code: int
) -> None:
    """As compiled modules do it whose import is interrupted."""

    def interrupted(*_: object, **__: object) -> None:
        try:
            handler(number, None)
        except (KeyboardInterrupt, SystemExit):
            raise ImportError("initialization failed") from None

    handler = start.interrupt if number == signal.SIGINT else start.terminate
    monkeypatch.setattr(start, "ended_by", ended_by := [])
    monkeypatch.setattr(main, "ended_by", ended_by)
    monkeypatch.setattr("edge_lorahub.runtime.session.Model", interrupted)
    result = run("generate", bundle, "w3")
    assert result.exit_code == code
    assert "defect" not in result.stderr

"""Decoder-only models end to end: export, adapt, generate, evaluate, bake and inspect, as with T5."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from decoders import KINDS, TINY, complete, write_checkpoint, write_decoder_module

from edge_lorahub import Example, Model, Modules, Settings, adapt, bake, generate, load, load_adapter
from edge_lorahub.bundle.decoder_only import graphs
from edge_lorahub.bundle.manifest import MANIFEST, TOKENIZER, WEIGHTS, read_manifest
from edge_lorahub.bundle.prompt import Prompt
from edge_lorahub.composition.stack import plain_inputs
from edge_lorahub.errors import (
    BundleError,
    CheckpointError,
    EdgeLorahubWarning,
    ExamplesError,
    ModuleMismatchError,
    SettingsError,
)
from edge_lorahub.export import export
from edge_lorahub.export.checks.agreement import check_export
from edge_lorahub.files.outputs import sha256
from edge_lorahub.runtime.binding import Runner
from edge_lorahub.runtime.scoring import Batches, Losses, Scorer
from edge_lorahub.testing import random_models

CONFIG = TINY["qwen2"]
EXAMPLES = [Example(" ".join(f"w{10 + 3 * i + j}" for j in range(4 + 5 * i)), f"w{20 + i} w{30 + i}") for i in range(5)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_checkpoint(tmp_path_factory.mktemp("decoder") / "tiny-qwen", CONFIG)
    complete(folder)
    return folder


@pytest.fixture(scope="module", params=["fp32", "int8"])
def model(request: pytest.FixtureRequest, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    out = tmp_path_factory.mktemp("bundle") / request.param
    export(checkpoint, out, precision=request.param)
    return load(out, threads=1)


@pytest.fixture(scope="module")
def float32(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    out = tmp_path_factory.mktemp("bundle") / "fp32"
    export(checkpoint, out)
    return load(out, threads=1)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    parent = tmp_path_factory.mktemp("modules")
    return [
        write_decoder_module(parent / f"m{i}", CONFIG, seed=i, rank=2 + i, kinds=kinds)
        for i, kinds in enumerate((KINDS, ("q_proj", "v_proj"), ("o_proj", "down_proj")))
    ]


def losses(model: Model, adapter_folder: Path | None = None) -> Losses:
    inputs = plain_inputs(model.manifest.slots)
    if adapter_folder is not None:
        inputs = load_adapter(adapter_folder, model.manifest).inputs(model.manifest)
    return Scorer(Runner(model, "score", inputs), Batches(model.bundle, model.bundle.encode(EXAMPLES, 99, 99))).losses()


def test_a_bundle_is_what_its_manifest_says(model: Model) -> None:
    manifest = read_manifest(model.folder)
    assert manifest.architecture == "decoder-only"
    assert manifest.graphs == graphs(manifest.precision)
    assert {p.name for p in model.folder.iterdir()} == {*manifest.graph_files, WEIGHTS, TOKENIZER, MANIFEST}
    assert manifest.sha256 == {name: sha256(model.folder / name) for name in manifest.files}
    assert manifest.kinds() == sorted(KINDS)
    found = manifest.model
    assert (found.start_token_id, found.kv_heads, found.heads, found.longest_text) == (None, 2, 4, 512)
    assert (found.end_token_ids, found.eos_token_id, found.pad_token_id) == ((1,), 1, 1)
    assert manifest.least_onnxruntime == "1.23"


def test_adapting_and_what_it_gives(
    model: Model, folders: list[Path], tmp_path: Path, run: Callable[..., Result]
) -> None:
    modules = Modules.load(folders)
    result = adapt(model, modules, EXAMPLES, Settings(budget=12))
    assert result.loss_after < result.loss_before
    result.adapter.save(tmp_path / "adapter")
    settings = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert settings["task_type"] == "CAUSAL_LM"
    again = load_adapter(tmp_path / "adapter", model.manifest)
    texts = [example.input for example in EXAMPLES]
    expected = generate(model, texts, adapter=result.adapter, max_new_tokens=9)
    assert generate(model, texts, adapter=again, max_new_tokens=9) == expected
    assert generate(model, texts, max_new_tokens=9) != expected
    with pytest.warns(EdgeLorahubWarning, match=r"rank 2 loses \d+% of the adapter's change"):
        again.truncated(2)[0].save(tmp_path / "small")
    assert load_adapter(tmp_path / "small").task_type == "CAUSAL_LM"
    shown = run("inspect", tmp_path / "adapter")
    assert shown.exit_code == 0, shown.output


def test_the_commands(checkpoint: Path, folders: list[Path], tmp_path: Path, run: Callable[..., Result]) -> None:
    def well(*arguments: object, stdin: str | None = None) -> str:
        result = run(*arguments, stdin=stdin)
        assert result.exit_code == 0, result.output
        return result.output

    lines = "".join(json.dumps({"input": e.input, "output": e.output}) + "\n" for e in EXAMPLES)
    (tmp_path / "examples.jsonl").write_text(lines)
    bundle, adapter, baked = tmp_path / "bundle", tmp_path / "adapter", tmp_path / "baked"
    assert "21 slots (down_proj,gate_proj,k_proj,o_proj,q_proj,up_proj,v_proj)" in well("export", checkpoint, bundle)
    assert "4 of 16, 2 of keys and values" in well("inspect", bundle, "--check")
    modules = [argument for folder in folders for argument in ("--module", folder)]
    examples = tmp_path / "examples.jsonl"
    well("adapt", bundle, examples, "--out", adapter, *modules, "--budget", 8, "--memory-limit", "1GB")
    well("evaluate", bundle, examples, "--adapter", adapter)
    answer = well("generate", bundle, "--adapter", adapter, "--max-new-tokens", 6, stdin="w5 w6 w7\n")
    well("bake", bundle, adapter, baked)
    assert well("generate", baked, "--max-new-tokens", 6, stdin="w5 w6 w7\n") == answer
    assert "qwen2" in well("inspect", checkpoint)


def test_baking_is_the_adapter(float32: Model, folders: list[Path], tmp_path: Path) -> None:
    baked = tmp_path / "baked"
    bake(float32.folder, load_adapter(folders[0], float32.manifest), baked)
    found, expected = losses(load(baked, threads=1)), losses(float32, folders[0])
    np.testing.assert_allclose(found.sums, expected.sums, rtol=1e-5)
    assert abs(expected.sums - losses(float32).sums).max() > 0.1


def test_a_prompt_is_part_of_a_bundle_in_int8(checkpoint: Path, tmp_path: Path) -> None:
    """Examples and questions are read with it, and the check in int8 compares with the same."""
    prompt = Prompt("w7 w8 ", " w9 w10", "", " </s>")
    manifest = export(checkpoint, tmp_path / "out", precision="int8", prompt=prompt)
    assert read_manifest(tmp_path / "out").prompt == manifest.prompt == prompt
    task = load(tmp_path / "out", threads=1).bundle.encode([Example("w5 w6", "w20")], 99, 99)
    assert [row.tolist() for row in (*task.sources, *task.labels)] == [[7, 8, 5, 6, 9, 10], [20, 1]]
    agreement = check_export(checkpoint, tmp_path / "out", examples=EXAMPLES)
    assert agreement.differences.max() < 0.3


def test_slots_of_some_kinds(checkpoint: Path, folders: list[Path], tmp_path: Path) -> None:
    manifest = export(checkpoint, tmp_path / "out", slots=["q_proj", "v_proj"])
    assert manifest.kinds() == ["q_proj", "v_proj"]
    Modules.load(folders[1]).check(manifest)
    with pytest.raises(ModuleMismatchError, match=r"--slots q_proj,v_proj,down_proj,gate_proj,k_proj,o_proj,up_proj$"):
        Modules.load(folders[0]).check(manifest)
    with pytest.raises(SettingsError, match="unknown slot 'q'; this checkpoint has q_proj, k_proj"):
        export(checkpoint, tmp_path / "other", slots=["q"])


def test_a_module_that_says_another_task(float32: Model, tmp_path: Path) -> None:
    folder = write_decoder_module(tmp_path / "m", CONFIG, kinds=("q_proj",), task_type="SEQ_2_SEQ_LM")
    with pytest.warns(EdgeLorahubWarning, match="does not say 'CAUSAL_LM' .* decoder-only models do: m"):
        Modules.load(folder).check(float32.manifest)
    for task_type in ("CAUSAL_LM", None):
        write_decoder_module(tmp_path / "n", CONFIG, kinds=("q_proj",), task_type=task_type)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            Modules.load(tmp_path / "n").check(float32.manifest)


def test_targets_where_a_module_names_none(tmp_path: Path, float32: Model) -> None:
    """As peft: q_proj and v_proj."""
    folder = write_decoder_module(tmp_path / "m", CONFIG, kinds=("q_proj", "v_proj"), target_modules=None)
    Modules.load(folder).check(float32.manifest)


def test_an_onnxruntime_that_is_too_old(float32: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_lorahub.runtime.session.ort.__version__", "1.22.0")
    with pytest.raises(BundleError, match=r"qwen2 is computed rightly by onnxruntime 1.23 and newer, and this is 1.22"):
        load(float32.folder)


def test_the_least_onnxruntime_of_windows(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "c", TINY["mistral"])
    complete(folder)
    assert export(folder, tmp_path / "out").least_onnxruntime == "1.24"


def test_a_bundle_whose_manifest_says_another_architecture(float32: Model, tmp_path: Path) -> None:
    """Of either kind: what the graphs read and give is compared."""
    export(random_models.write_checkpoint(tmp_path / "t5", "tiny"), tmp_path / "bundle")
    for folder, other in ((float32.folder, "encoder-decoder"), (tmp_path / "bundle", "decoder-only")):
        copy = tmp_path / other
        shutil.copytree(folder, copy)
        manifest = json.loads((copy / MANIFEST).read_text())
        (copy / MANIFEST).write_text(json.dumps(manifest | {"architecture": other}))
        with pytest.raises(BundleError, match="its graphs and its manifest differ"):
            generate(load(copy, threads=1), ["w3"])


def test_no_end_token(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "c", CONFIG)
    complete(folder)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    with pytest.raises(CheckpointError, match="no eos_token_id, so nothing would end an answer"):
        export(folder, tmp_path / "out")


def test_a_text_of_no_tokens(float32: Model) -> None:
    """Before anything is answered, and by its number."""
    with pytest.raises(ExamplesError, match="text 2 gives no tokens, and this model's prompts begin with none"):
        generate(float32, ["w5", "", "w6"])
    with pytest.raises(ExamplesError, match="text 1 gives no tokens"):
        float32.bundle.encode([Example(" ", "w5")], 99, 99)


def test_an_answer_longer_than_the_positions(float32: Model) -> None:
    text = " ".join(["w5"] * 512)
    with pytest.raises(SettingsError, match=r"a prompt has 513 tokens .* positions end at 512; .*--max-input-tokens"):
        generate(float32, [f"{text} w6"])
    with pytest.warns(EdgeLorahubWarning, match="1 of 1 answers are cut where the model's positions end"):
        generate(float32, [text])
    with pytest.raises(SettingsError, match=r"text 2 has 514 tokens .*--max-input-tokens or --max-output-tokens"):
        Batches(float32.bundle, float32.bundle.encode([EXAMPLES[0], Example(text, "w6")], 999, 99))


def test_an_answer_that_has_ended_does_not_end_the_others(float32: Model) -> None:
    """At a stop string or an end token, and where the positions end for one text alone."""
    texts = [" ".join(["w5"] * 500), "w6 w7", " ".join(["w8"] * 490)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeLorahubWarning)
        whole = [generate(float32, [text], max_new_tokens=40)[0] for text in texts]
        stop = whole[0].split()[0]
        alone = [generate(float32, [text], max_new_tokens=40, stop=stop)[0] for text in texts]
        assert generate(float32, texts, max_new_tokens=40) == whole
        assert generate(float32, texts, max_new_tokens=40, stop=stop) == alone
    assert len(whole[0].split()) <= 12


def test_answers_of_a_model_whose_numbers_overflow(float32: Model, folders: list[Path]) -> None:
    adapter = load_adapter(folders[0])
    pairs = {layer: replace(pair, b=pair.b * np.float32(1e30)) for layer, pair in adapter.pairs.items()}
    with pytest.raises(BundleError, match="logits are no finite numbers"):
        generate(float32, ["w5 w6"], adapter=replace(adapter, pairs=pairs))

"""The benchmarks of decoder-only models: answers are checked and figures are there; no test looks at a time."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from decoders import skip_if_too_old

from edge_lorahub import Modules, load, read_examples
from edge_lorahub.bench.adaptation_time import write_examples
from edge_lorahub.bench.load import Load
from edge_lorahub.bench.roofline import Product, Work, products
from edge_lorahub.export import export
from edge_lorahub.testing.decoder_sizes import decoder_tensors
from edge_lorahub.testing.random_models import SIZES, config, linear_layers, write_checkpoint, write_module

TINY = ("tiny-llama", "tiny-qwen2", "tiny-gemma3")


@pytest.fixture(scope="module")
def decoder_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("decoder")
    export(write_checkpoint(folder / "checkpoint", "tiny-llama"), folder / "bundle")
    return folder / "bundle"


def test_the_sizes_are_the_published_ones() -> None:
    """The number of parameters, as counted in the published checkpoints."""
    counts = {
        size: sum(math.prod(tensor.shape) for tensor in decoder_tensors(SIZES[size]))
        for size in ("smollm2-135m", "qwen2.5-0.5b", "gemma-3-270m")
    }
    assert counts == {"smollm2-135m": 134_515_008, "qwen2.5-0.5b": 494_032_768, "gemma-3-270m": 268_098_176}


@pytest.mark.parametrize("size", TINY)
def test_a_checkpoint_and_its_modules_are_exported_and_composed(size: str, tmp_path: Path) -> None:
    """With a float32 model nothing is warned of, and every slot has the size that the module says."""
    skip_if_too_old(size.removeprefix("tiny-"))
    export(write_checkpoint(tmp_path / "checkpoint", size), tmp_path / "bundle")
    manifest = load(tmp_path / "bundle").manifest
    assert [(slot.name, slot.d_in, slot.d_out) for slot in manifest.slots] == list(linear_layers(size))
    module = write_module(tmp_path / "module", size, seed=0, rank=2)
    settings = json.loads((module / "adapter_config.json").read_text())
    assert (settings["task_type"], settings["target_modules"]) == ("CAUSAL_LM", ["q_proj", "v_proj"])
    (found,) = Modules.load([module])
    assert len(found.shapes) == 2 * config(size)["num_hidden_layers"]


def test_weights_depend_on_the_seed_alone(tmp_path: Path) -> None:
    files = [write_checkpoint(tmp_path / name, "tiny-llama", seed=seed) / "model.safetensors"
             for name, seed in (("a", 0), ("b", 0), ("c", 1))]  # fmt: skip
    first, same, other = (file.read_bytes() for file in files)
    assert first == same
    assert first != other


def test_examples_have_the_tokens_that_are_asked_for(decoder_bundle: Path, tmp_path: Path) -> None:
    examples = tmp_path / "examples.jsonl"
    load_ = Load("tiny-llama", examples=4, length=9)
    write_examples(examples, load_)
    task = load(decoder_bundle).bundle.encode(read_examples(examples), 2048, 256)
    assert task.lengths == [(9, 3), (13, 3), (19, 3), (27, 3)]
    assert load_.examples_fact == "4 of 9, 13, 19, 27 tokens, the first 4 in common"
    same = [len({int(source[i]) for source in task.sources}) == 1 for i in range(9)]
    assert same == [True] * 4 + [False] * 5
    assert all(labels[-1] == 1 for labels in task.labels)


def test_examples_of_t5_are_of_one_length() -> None:
    load_ = Load("flan-t5-small", examples=3, length=70)
    assert (load_.lengths, load_.common, load_.examples_fact) == ((70, 70, 70), 0, "3 of 70 tokens")


@pytest.mark.parametrize("length", [2, 3])
def test_one_short_example(length: int) -> None:
    assert Load("tiny-llama", examples=1, length=length).lengths == (length,)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_an_adaptation_is_measured(run: Callable[..., Result], tmp_path: Path, precision: str) -> None:
    arguments = ("--size", "tiny-llama", "--modules", 3, "--rank", 2, "--length", 9, "--budget", 5, "--json")
    facts = json.loads(run("bench", "adapt", *arguments, "--work", tmp_path, "--precision", precision).stdout)["facts"]
    assert facts["candidates"] == 5
    assert facts["precision"] == precision
    assert 0 < facts["share of products in its runs"] < 1


def test_latency_has_the_parts_that_there_are(run: Callable[..., Result], decoder_bundle: Path) -> None:
    report = json.loads(
        run("bench", "latency", decoder_bundle, "--length", 5, "--batch-size", 2, "--threads", 1, "--modules", 2,
            "--rank", 3, "--rounds", 2, "--json").stdout
    )  # fmt: skip
    for row in report["tables"]["a candidate"]:
        assert [name for name in row if name.endswith(", ms") and "candidate" not in name] == [
            "compose, ms", "score, ms", "search, ms",
        ]  # fmt: skip
        assert all(value > 0 for name, value in row.items() if name.endswith(", ms"))


def test_products_of_a_candidate() -> None:
    """350 tokens are read, of which 15 predict a label: above the last layer's keys and values no others go on."""
    found = products(Work("tiny-llama", 350, 15, absorbed=False))
    below = {
        Product(350, 48, 64): 2, Product(350, 48, 32): 6, Product(350, 64, 48): 2,
        Product(350, 48, 80): 4, Product(350, 80, 48): 2,
    }  # fmt: skip
    above = {
        Product(15, 48, 64): 1, Product(15, 64, 48): 1, Product(15, 48, 80): 2, Product(15, 80, 48): 1,
        Product(15, 48, 128): 1,
    }  # fmt: skip
    assert found == Counter(below | above)


@pytest.mark.parametrize("size", TINY[::2])
def test_roofline_of_a_decoder(run: Callable[..., Result], size: str) -> None:
    report = json.loads(run("bench", "roofline", "--size", size, "--threads", 1, "--modules", 2, "--json").stdout)
    assert [row["precision"] for row in report["tables"]["products"]] == ["fp32", "int8"]
    assert len(report["tables"]["composing"]) == 4


@pytest.mark.oracle
@pytest.mark.parametrize("size", TINY)
def test_torch_does_the_same_work(run: Callable[..., Result], tmp_path: Path, size: str) -> None:
    for name in ("torch", "transformers", "peft"):
        pytest.importorskip(name)
    report = json.loads(
        run("bench", "peers", "--size", size, "--modules", 2, "--rank", 2, "--length", 9, "--rounds", 1, "--threads", 1,
            "--work", tmp_path / "work", "--json").stdout
    )  # fmt: skip
    assert {title: len(rows) for title, rows in report["tables"].items()} == {"a candidate": 5, "generation": 3}
    (ours,) = (
        row for row in report["tables"]["a candidate"]
        if (row["who"], row["composition"]) == ("edge-lorahub fp32", "paper")
    )  # fmt: skip
    assert float(ours["loss off by"]) < 1e-5


@pytest.mark.oracle
def test_wrong_losses_are_not_timed(fails: Callable[..., str], tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("peft")
    from edge_lorahub.bench.torch_decoder import TorchCandidates

    monkeypatch.setattr(TorchCandidates, "losses", lambda self, population: np.full(len(population), np.nan))
    arguments = ("--size", "tiny-llama", "--modules", 2, "--rank", 2, "--length", 9, "--rounds", 1)
    assert "the losses differ from the reference's by nan" in fails(
        "bench", "peers", *arguments, "--work", tmp_path / "work"
    )


@pytest.mark.oracle
def test_the_peer_computes_transformers_loss(tmp_path: Path) -> None:
    """Without LoRA, beside transformers' own loss of each example alone, all logits computed."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    from edge_lorahub.bench.torch_decoder import TorchCandidates
    from edge_lorahub.runtime.opened import EncodedTask

    checkpoint = write_checkpoint(tmp_path / "checkpoint", "tiny-qwen2")
    rng = np.random.default_rng(0)
    # ragged, so that there is padding
    sources, labels = ([rng.integers(3, 128, n) for n in lengths] for lengths in ((9, 4, 13), (3, 1, 5)))
    modules = [write_module(tmp_path / f"m{i}", "tiny-qwen2", seed=i, rank=2) for i in range(2)]
    found = TorchCandidates(checkpoint, modules, EncodedTask(sources, labels)).losses(np.zeros((1, 2)))
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    losses = []
    for source, label in zip(sources, labels, strict=True):
        ids = torch.tensor(np.concatenate([source, label]))[None]
        targets = ids.clone()
        targets[:, : len(source)] = -100
        with torch.no_grad():
            losses.append(float(model(input_ids=ids, labels=targets).loss))
    np.testing.assert_allclose(found, np.mean(losses), rtol=1e-5)

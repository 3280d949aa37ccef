"""Checkpoints as transformers saves them, against its own logits: with transformers 4, and with 5 in an environment of
its own (`.ci/run`), whose configurations say of every T5 that its head is the embedding."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scores import forced
from tokenizers import Tokenizer

from edge_lorahub import load
from edge_lorahub.composition.stack import plain_inputs
from edge_lorahub.errors import EdgeLorahubWarning
from edge_lorahub.export import export
from edge_lorahub.export.source.tokenizer_conversion import TEXTS, convert
from edge_lorahub.runtime.binding import Runner
from edge_lorahub.testing.random_models import SIZES, config, write_checkpoint

pytestmark = pytest.mark.oracle

MAJOR = int(transformers.__version__.partition(".")[0])
five = pytest.mark.skipif(MAJOR < 5, reason="what transformers 5 alone does")
four = pytest.mark.skipif(MAJOR >= 5, reason="what transformers 4 alone does")

TOLERANCE = 1e-5
FAMILIES = ("tiny", "tiny-t5", "tiny-mt5")  # T5 1.1, T5 1.0 and mT5
SHARDS = {"one file": "1GB", "shards": "30KB"}

_rng = np.random.default_rng(0)
IDS = _rng.integers(3, 128, (3, 150))  # past the farthest relative distance
MASK = np.array([[1] * length + [0] * (150 - length) for length in (150, 40, 3)])
LABELS = _rng.integers(3, 128, (3, 9))


def model_of(folder: Path) -> torch.nn.Module:
    return transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).float().eval()


def truth_of(model: torch.nn.Module) -> np.ndarray:
    with torch.no_grad():
        output = model(input_ids=torch.tensor(IDS), attention_mask=torch.tensor(MASK), labels=torch.tensor(LABELS))
    return output.logits.numpy()


def difference(checkpoint: Path, bundle: Path, truth: np.ndarray) -> float:
    """Exports, and gives the largest difference of the logits relative to the largest logit."""
    export(checkpoint, bundle)
    model = load(bundle, threads=1)
    logits = forced(Runner(model, "score", plain_inputs(model.manifest.slots)), IDS, MASK, LABELS)
    found = float(np.abs(logits - truth).max() / np.abs(truth).max())
    print(f"[measured] logits {found:.1e}")
    return found


def saved(model: torch.nn.Module, like: Path, folder: Path, size: str = "1GB") -> Path:
    """A checkpoint as transformers saves the model, with the tokenizer of another."""
    model.save_pretrained(folder, max_shard_size=size)
    shutil.copy(like / "tokenizer.json", folder)
    return folder


@pytest.mark.parametrize("size", FAMILIES)
def test_a_checkpoint_of_transformers_4(size: str, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", size)
    assert difference(checkpoint, tmp_path / "bundle", truth_of(model_of(checkpoint))) <= TOLERANCE


@pytest.mark.parametrize("shards", SHARDS)
@pytest.mark.parametrize("size", FAMILIES)
def test_a_checkpoint_that_this_version_saves(
    size: str, shards: str, tmp_path: Path, run: Callable[..., Result]
) -> None:
    base = write_checkpoint(tmp_path / "base", size)
    model = model_of(base)
    checkpoint = saved(model, base, tmp_path / "checkpoint", SHARDS[shards])
    assert len(list(checkpoint.glob("*.safetensors"))) > (3 if shards == "shards" else 0)
    if MAJOR >= 5:
        assert json.loads((checkpoint / "config.json").read_text())["tie_word_embeddings"] is True
    assert difference(checkpoint, tmp_path / "bundle", truth_of(model)) <= TOLERANCE
    result = run("export", checkpoint, tmp_path / "verified", "--verify")
    assert result.exit_code == 0, result.output
    assert f"verified against transformers {transformers.__version__}: " in result.output


@pytest.mark.parametrize("names", [("encoder", "decoder"), ("encoder",), ("decoder",)])
@pytest.mark.parametrize("size", FAMILIES)
def test_an_embedding_under_other_names(
    size: str, names: tuple[str, ...], tmp_path: Path, run: Callable[..., Result]
) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", size)
    tensors = load_file(checkpoint / "model.safetensors")
    embedding = tensors.pop("shared.weight")
    tensors |= {f"{name}.embed_tokens.weight": embedding.clone() for name in names}
    save_file(tensors, checkpoint / "model.safetensors", {"format": "pt"})
    result = run("export", checkpoint, tmp_path / "bundle", "--verify")
    assert result.exit_code == 0, result.output


@five
@pytest.mark.parametrize("family", ["t5", "mt5"])
@pytest.mark.parametrize("feed_forward", ["relu", "gated-gelu"])
def test_a_new_model_of_transformers_5(family: str, feed_forward: str, tmp_path: Path) -> None:
    """Its head is the embedding; what a T5's reads is scaled, and what an mT5's reads is not."""
    fields = {
        name: value for name, value in config("tiny").items() if name not in ("tie_word_embeddings", "model_type")
    }
    settings = transformers.AutoConfig.for_model(family, **fields | {"feed_forward_proj": feed_forward})
    torch.manual_seed(0)
    model = transformers.AutoModelForSeq2SeqLM.from_config(settings).eval()
    checkpoint = saved(model, write_checkpoint(tmp_path / "base", "tiny"), tmp_path / "checkpoint")
    with safe_open(checkpoint / "model.safetensors", "numpy") as file:
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118  # no dictionary
    assert difference(checkpoint, tmp_path / "bundle", truth_of(model)) <= TOLERANCE


@four
@pytest.mark.parametrize("size", FAMILIES)
def test_what_transformers_5_would_save(size: str, tmp_path: Path, run: Callable[..., Result]) -> None:
    """The same weights under its configuration: `--verify` tells transformers 4 that the head is one of its own."""
    checkpoint = write_checkpoint(tmp_path / "checkpoint", size)
    truth = truth_of(model_of(checkpoint))
    fields = config(size) | {"tie_word_embeddings": True, "transformers_version": "5.24.0"}
    if SIZES[size]["model_type"] == "t5":
        fields["scale_decoder_outputs"] = SIZES[size]["tie_word_embeddings"]
    (checkpoint / "config.json").write_text(json.dumps(fields))
    assert difference(checkpoint, tmp_path / "bundle", truth) <= TOLERANCE
    assert run("export", checkpoint, tmp_path / "verified", "--verify").exit_code == 0


@four
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_tied_head_in_half_precision(dtype: torch.dtype, tmp_path: Path, run: Callable[..., Result]) -> None:
    """transformers ties it to the embedding; --verify compares with the checkpoint's own settings."""
    checkpoint = write_checkpoint(tmp_path / "checkpoint", "tiny-t5")
    tensors = load_file(checkpoint / "model.safetensors")
    tensors["lm_head.weight"] = tensors["shared.weight"].to(dtype)
    save_file(tensors, checkpoint / "model.safetensors", metadata={"format": "pt"})
    truth = truth_of(model_of(checkpoint))
    result = run("export", checkpoint, tmp_path / "verified", "--verify")
    assert result.exit_code == 0, result.output
    assert "tie_word_embeddings" not in result.stderr
    assert difference(checkpoint, tmp_path / "bundle", truth) <= TOLERANCE


@pytest.mark.parametrize("settings", [{}, {"legacy": False}, {"add_prefix_space": None}])
def test_spiece_model_gives_the_published_ids(settings: dict[str, object], shared: Path, tmp_path: Path) -> None:
    """With both versions; what tokenizer_config.json says of the space before the first word does not count."""
    pytest.importorskip("sentencepiece")
    shutil.copy(shared / "t5-tokenizer" / "spiece.model", tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "T5Tokenizer"} | settings))
    published = Tokenizer.from_file(str(shared / "t5-tokenizer" / "tokenizer.json"))
    # transformers 4 and 5 read null in two ways
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*converted with the space", EdgeLorahubWarning)
        converted = convert(tmp_path)
    # legacy says what comes after a special token, and the published one was made with it
    texts = TEXTS if "legacy" in settings else (*TEXTS, "The <extra_id_0> walks in<extra_id_1>park")
    for text in texts:
        assert converted.encode(text).ids == published.encode(text).ids

"""The tokenizer and special tokens that a decoder-only model is exported with."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from decoders import TINY, complete, write_checkpoint
from safetensors.numpy import load_file, save_file
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors

from edge_lorahub import load
from edge_lorahub.bundle.manifest import ModelConfig
from edge_lorahub.errors import CheckpointError, EdgeLorahubWarning, MissingPathError
from edge_lorahub.export import export

CONFIG = TINY["llama"]


def exported(
    folder: Path, config: dict[str, Any] | None = None, generation: dict[str, Any] | None = None, **settings: Any
) -> Path:
    """The bundle of a checkpoint with these fields; settings are those of its tokenizer_config.json."""
    checkpoint = write_checkpoint(folder / "c", CONFIG | {"eos_token_id": 1} | (config or {}))
    complete(checkpoint)
    if generation is not None:
        (checkpoint / "generation_config.json").write_text(json.dumps(generation))
    (checkpoint / "tokenizer_config.json").write_text(json.dumps(settings))
    with warnings.catch_warnings():
        warnings.simplefilter("error", EdgeLorahubWarning)
        export(checkpoint, folder / "out", force=True)
    return folder / "out"


def model(folder: Path, *arguments: Any, **settings: Any) -> ModelConfig:
    return load(exported(folder, *arguments, **settings), threads=1).manifest.model


def test_end_tokens(tmp_path: Path) -> None:
    """generation_config.json first; examples end with the tokenizer's own where that ends an answer."""
    found = model(tmp_path, {"eos_token_id": 1}, {"eos_token_id": [7, 1]})
    assert (found.end_token_ids, found.eos_token_id, found.pad_token_id) == ((7, 1), 7, 7)
    assert model(tmp_path, {"eos_token_id": [5, 6]}, {}).end_token_ids == (5, 6)
    assert model(tmp_path, {}, {"eos_token_id": [7, 1]}, eos_token="</s>").eos_token_id == 1
    assert model(tmp_path, {}, {"eos_token_id": [7, 1]}, eos_token={"content": "</s>"}).eos_token_id == 1
    assert model(tmp_path, {}, {"eos_token_id": [7, 4]}, eos_token="</s>").eos_token_id == 7


def test_a_padding_token_that_is_none(tmp_path: Path) -> None:
    assert model(tmp_path, {"pad_token_id": -1}).pad_token_id == 1
    assert model(tmp_path, {"pad_token_id": 3}).pad_token_id == 3
    with pytest.raises(CheckpointError, match="eos_token_id must be a whole number of at least 0, got -1"):
        exported(tmp_path, {"eos_token_id": -1})
    with pytest.raises(CheckpointError, match="eos_token_id is 96, but the model's vocab_size is 96"):
        exported(tmp_path, {"eos_token_id": 96})


@pytest.mark.parametrize(
    ("settings", "starts"),
    [
        ({"tokenizer_class": "LlamaTokenizer", "bos_token": "<pad>"}, [0]),
        ({"tokenizer_class": "LlamaTokenizerFast", "bos_token": {"content": "<pad>"}, "add_bos_token": True}, [0]),
        ({"tokenizer_class": "GemmaTokenizer", "bos_token": "<pad>", "add_bos_token": False}, []),
        ({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<pad>"}, []),
        ({}, []),
    ],
)
def test_the_start_token_is_what_transformers_adds(settings: dict[str, Any], starts: list[int], tmp_path: Path) -> None:
    """Whatever tokenizer.json says, which here adds none."""
    assert load(exported(tmp_path, **settings), threads=1).tokens.start_ids == starts


def test_a_start_token_that_is_taken_away(tmp_path: Path) -> None:
    """tokenizer.json adds one, and the settings of such a class say no."""
    checkpoint = write_checkpoint(tmp_path / "c", CONFIG | {"eos_token_id": 1})
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "</s>": 1, "<s>": 2, "w": 3}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in ("<unk>", "</s>", "<s>")])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 2)])
    tokenizer.save(str(checkpoint / "tokenizer.json"))
    settings = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>"}
    for added, expected in ((True, [2]), (False, [])):
        (checkpoint / "tokenizer_config.json").write_text(json.dumps(settings | {"add_bos_token": added}))
        export(checkpoint, tmp_path / "out", force=True)
        assert load(tmp_path / "out", threads=1).tokens.start_ids == expected


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"bos_token": "<strange>"}, "the tokenizer has id 96, but the model's vocab_size is 96"),
        ({}, "bos_token, which is no token"),
        ({"bos_token": "<pad>", "add_bos_token": "yes"}, "add_bos_token must be true or false, got 'yes'"),
    ],
)
def test_a_start_token_that_cannot_be_told(settings: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=words):
        exported(tmp_path, tokenizer_class="LlamaTokenizer", **settings)


def test_other_tokenizer_files_are_not_converted(tmp_path: Path) -> None:
    """vocab.json and merges.txt do not say how a text is cut into words."""
    checkpoint = write_checkpoint(tmp_path / "c", CONFIG | {"eos_token_id": 1})
    (checkpoint / "vocab.json").write_text("{}")
    (checkpoint / "merges.txt").write_text("")
    with pytest.raises(MissingPathError, match=r"no tokenizer.json; make one where transformers is installed"):
        export(checkpoint, tmp_path / "out")


def test_a_tokenizer_of_another_model(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "c", CONFIG | {"eos_token_id": 1})
    complete(checkpoint)
    small = write_checkpoint(tmp_path / "s", CONFIG | {"eos_token_id": 1, "vocab_size": 90})
    (small / "tokenizer.json").write_bytes((checkpoint / "tokenizer.json").read_bytes())
    with pytest.raises(CheckpointError, match="the tokenizer has id 95, but the model's vocab_size is 90"):
        export(small, tmp_path / "out")


def test_tensors_that_are_left_over(tmp_path: Path) -> None:
    """Rotary buffers of older files are none of the model's; everything else is named."""
    checkpoint = write_checkpoint(tmp_path / "c", CONFIG | {"eos_token_id": 1})
    complete(checkpoint)
    tensors = load_file(checkpoint / "model.safetensors")
    buffer = {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(8, np.float32)}
    save_file(tensors | buffer, checkpoint / "model.safetensors", metadata={"format": "pt"})
    with warnings.catch_warnings():
        warnings.simplefilter("error", EdgeLorahubWarning)
        export(checkpoint, tmp_path / "out")
    other = {"model.layers.0.self_attn.q_proj.bias": np.ones(64, np.float32)}
    save_file(tensors | other, checkpoint / "model.safetensors", metadata={"format": "pt"})
    with pytest.warns(EdgeLorahubWarning, match=r"1 of its tensors .* not used: model.layers.0.self_attn.q_proj.bias"):
        export(checkpoint, tmp_path / "out", force=True)

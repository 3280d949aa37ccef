"""A bundle's tokenizer cleans up spaces after decoding where the checkpoint's settings say so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors

from edge_lorahub.bundle.manifest import TOKENIZER, read_manifest
from edge_lorahub.export import export
from edge_lorahub.runtime.tokens import Tokens

WORDS = ["<pad>", "</s>", "<unk>", "a", "b", ",", "?", "'", "n't", "'s"]


def read_back(checkpoint: Path, tmp_path: Path, settings: object, *texts: str) -> list[str]:
    folder, out = tmp_path / "checkpoint", tmp_path / "bundle"
    shutil.copytree(checkpoint, folder)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in WORDS[:3]])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.save(str(folder / TOKENIZER))
    if settings is None:
        (folder / "tokenizer_config.json").unlink()
    else:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    export(folder, out)
    return Tokens(out / TOKENIZER, read_manifest(out).model).read_back(texts)


def test_where_the_settings_say_so(checkpoint: Path, tmp_path: Path) -> None:
    """The values are transformers' (4.57.6), from the same tokenizer's batch_decode."""
    found = read_back(
        checkpoint, tmp_path, {"clean_up_tokenization_spaces": True}, "a , b ?", "b n't ' a 's", "a", "", ", ,"
    )
    assert found == ["a, b?", "bn't'a's", "a", "", ",,"]


@pytest.mark.parametrize("settings", [{"clean_up_tokenization_spaces": False}, {}, None])
def test_where_they_do_not(checkpoint: Path, tmp_path: Path, settings: object) -> None:
    assert read_back(checkpoint, tmp_path, settings, "a , b ?", "b n't ' a 's") == ["a , b ?", "b n't ' a 's"]


def test_settings_that_are_none_are_refused(fails: Callable[..., str], checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "checkpoint")
    (tmp_path / "checkpoint" / "tokenizer_config.json").write_text("[]")
    line = fails("export", tmp_path / "checkpoint", tmp_path / "out")
    assert "tokenizer_config.json: expected a JSON object, got a list" in line
    assert not (tmp_path / "out").exists()

"""The exporter's own check, and tokenizers converted from spiece.model alone."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("sentencepiece")

from oracle import TOLERANCE
from tokenizers import Tokenizer

from edge_lorahub.bench.random_models import config, write_checkpoint
from edge_lorahub.export import export
from edge_lorahub.export.t5_config import read_t5_config
from edge_lorahub.export.tokenizer import write_tokenizer
from edge_lorahub.export.verify import verify_bundle

pytestmark = pytest.mark.oracle

TEXTS = (
    "translate English to German: That is good.",
    "Today is Christmas Eve of 1937. What is the date 10 days ago in MM/DD/YYYY?\nOptions:\n(A) 12/14/2026",
    "  leading,  double   and trailing spaces  ",
    "tabs\tand\nnew\r\nlines\n\n",
    "Äpfel, naïve café, Übergröße",
    "\ufb01ne ligatures, \uff46\uff55\uff4c\uff4c width, ½ and ①",
    "日本語のテキスト and русский",
    "emoji 🙂 and a\u00a0no-break space, zero\u200bwidth",
    "The <extra_id_0> walks in <extra_id_1> park",
    "The<extra_id_0>walks",
    "Hello</s> world <pad> <unk>",
    "{braces} ~tilde \\backslash `tick`",
    "",
)


@pytest.mark.parametrize("size", ["tiny", "tiny-t5", "tiny-mt5"])
def test_verify(size: str, tmp_path: Path, run: Callable[..., Result]) -> None:
    checkpoint = write_checkpoint(tmp_path / size, size)
    result = run("export", checkpoint, tmp_path / "bundle", "--verify")
    assert result.exit_code == 0, result.output
    match = re.search(r"verified against transformers: .* (\d\S+)$", result.output.strip())
    assert match is not None, result.output
    assert 0 < float(match[1]) <= TOLERANCE


def test_verify_sees_another_checkpoint(tmp_path: Path) -> None:
    export(write_checkpoint(tmp_path / "one", "tiny", seed=0), tmp_path / "bundle")
    assert verify_bundle(write_checkpoint(tmp_path / "two", "tiny", seed=1), tmp_path / "bundle") > 0.1


@pytest.fixture(scope="module")
def tokenizers(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    """The published tokenizer.json, and ours from the spiece.model beside it and a config.json."""
    folder = tmp_path_factory.mktemp("sentencepiece")
    shutil.copy(shared / "t5-tokenizer" / "spiece.model", folder)
    (folder / "config.json").write_text(json.dumps(config("t5-small")))
    write_tokenizer(folder, folder / "converted.json", read_t5_config(folder))
    return {
        "published": Tokenizer.from_file(str(shared / "t5-tokenizer" / "tokenizer.json")),
        "converted": Tokenizer.from_file(str(folder / "converted.json")),
    }


@pytest.mark.parametrize("text", TEXTS)
def test_converted_tokenizer(text: str, tokenizers: dict[str, Tokenizer]) -> None:
    assert tokenizers["converted"].encode(text).ids == tokenizers["published"].encode(text).ids


def test_converted_vocabulary(tokenizers: dict[str, Tokenizer]) -> None:
    assert tokenizers["converted"].get_vocab() == tokenizers["published"].get_vocab()

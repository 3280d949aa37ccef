"""A tokenizer.json that makes the Rust library panic, or that lacks what it needs: one line, at export and at use."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bundles import sign
from charsmaps import charsmap
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from edge_lorahub.errors import BundleError
from edge_lorahub.export import export
from edge_lorahub.testing.random_models import word_tokenizer, write_checkpoint
from edge_lorahub.tokenizer.tokenizer_file import load_tokenizer


def without_unknown(model: models.Model) -> str:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer.to_str()


def with_normalizer(normalizer: dict[str, Any]) -> str:
    return json.dumps(json.loads(word_tokenizer(128).to_str()) | {"normalizer": normalizer})


VOCABULARY = {"<pad>": 0, "</s>": 1, "w3": 2, "a": 3}
BROKEN = {
    "panic": with_normalizer({"type": "Precompiled", "precompiled_charsmap": None}),
    "panic within": with_normalizer(
        {"type": "Sequence", "normalizers": [{"type": "Precompiled", "precompiled_charsmap": None}]}
    ),
    "charsmap": with_normalizer({"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
    "unigram": without_unknown(models.Unigram([(word, -1.0) for word in VOCABULARY])),
    "words": without_unknown(models.WordLevel(VOCABULARY, unk_token="<unk>")),
    "empty": "",
    "list": "[]",
    "model": json.dumps({"model": {"type": "Other"}}),
}


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the library prints past Python's standard error."""
    return subprocess.run(
        [sys.executable, "-m", "edge_lorahub", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"RUST_BACKTRACE": "1"},
    )


@pytest.mark.parametrize("name", BROKEN)
def test_one_line_at_export(name: str, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", "tiny")
    (checkpoint / "tokenizer.json").write_text(BROKEN[name])
    done = command("export", checkpoint, tmp_path / "bundle")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith(f"Error: {checkpoint / 'tokenizer.json'}: not a tokenizer file that can be used (")
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("name", ["panic", "unigram"])
def test_one_line_at_use(name: str, checkpoint: Path, tmp_path: Path) -> None:
    export(checkpoint, tmp_path / "bundle")
    (tmp_path / "bundle" / "tokenizer.json").write_text(BROKEN[name])
    sign(tmp_path / "bundle")
    done = command("generate", tmp_path / "bundle", "w3")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "not a tokenizer file that can be used (" in done.stderr
    assert "export the bundle again" in done.stderr


def test_a_panic_on_a_text_is_one_line(checkpoint: Path, tmp_path: Path) -> None:
    """Rules that send one character to where no replacement is, which no text shows but one that has it."""
    export(checkpoint, tmp_path / "bundle")
    rules = base64.b64encode(charsmap("~", b"b\0", 100)).decode()
    (tmp_path / "bundle" / "tokenizer.json").write_text(
        with_normalizer({"type": "Precompiled", "precompiled_charsmap": rules})
    )
    sign(tmp_path / "bundle")
    assert command("generate", tmp_path / "bundle", "w3").returncode == 0
    done = command("generate", tmp_path / "bundle", "w3 ~")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "fails on a text (" in done.stderr
    assert "take the tokenizer of the model that it was made from, and export the bundle again" in done.stderr


def test_forks_and_threads_while_texts_are_encoded(tmp_path: Path) -> None:
    """Standard error is set aside for every text; a child that is forked meanwhile can use the tokenizer."""
    (tmp_path / "tokenizer.json").write_text(word_tokenizer(20).to_str())
    code = """
import os, sys, threading
from pathlib import Path
from edge_lorahub.errors import BundleError
from edge_lorahub.tokenizer.tokenizer_file import load_tokenizer, one_error
tokenizer = load_tokenizer(Path(sys.argv[1]), BundleError)
def work():
    for _ in range(300):
        with one_error(BundleError, panics_only=True):
            tokenizer.encode("w3")
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads: thread.start()
for _ in range(20):
    child = os.fork()
    if not child:
        work()
        os.write(2, b"child\\n")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
for thread in threads: thread.join()
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "tokenizer.json")],
        capture_output=True, text=True, check=False, timeout=60, env=os.environ | {"TOKENIZERS_PARALLELISM": "false"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == "child\n" * 20


def test_a_tokenizer_that_bytes_help_out_needs_no_unknown(tmp_path: Path) -> None:
    """Byte-level pairs spell everything, so nothing is lacking."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: index for index, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path / "tokenizer.json", BundleError).encode("\ue000").ids


def test_standard_error_is_as_before(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """After a panic and after a tokenizer that is right, also where another thread writes meanwhile."""
    for name in ("panic", "right"):
        (tmp_path / "tokenizer.json").write_text(BROKEN.get(name, word_tokenizer(20).to_str()))
        try:
            load_tokenizer(tmp_path / "tokenizer.json", BundleError)
        except BundleError:
            assert name == "panic"
        os.write(2, f"after {name}\n".encode())
    assert capfd.readouterr().err == "after panic\nafter right\n"

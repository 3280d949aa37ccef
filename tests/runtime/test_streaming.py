"""`generate` answers lines as they come, and shows an answer on a terminal while it is made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from decoders import TINY, export_decoder, write_checkpoint
from hypothesis import given
from hypothesis import strategies as st
from terminals import shown
from tokenizers import Tokenizer, decoders

from edge_lorahub import Model, generate, load_adapter
from edge_lorahub.errors import EdgeLorahubWarning, SettingsError
from edge_lorahub.export.source.clean_up import REPLACEMENTS
from edge_lorahub.runtime.generation import runner_for, stream_with
from edge_lorahub.runtime.stopping import Stops, pieces

TEXTS = [" ".join(f"w{(7 * i + j) % 120 + 3}" for j in range(1 + 9 * i % 31)) for i in range(8)]


@pytest.mark.parametrize("length", [1, 2, 12])
def test_the_pieces_are_the_answer(model: Model, module_folders: list[Path], length: int) -> None:
    adapter = load_adapter(module_folders[0])
    runner = runner_for(model, adapter)
    answers = generate(model, TEXTS, adapter=adapter, max_new_tokens=length)
    for text, answer in zip(TEXTS, answers, strict=True):
        found = list(stream_with(runner, text, max_new_tokens=length))
        assert "".join(found) == answer
        assert length < 12 or len(list(filter(None, found))) > 3


def test_what_stream_refuses_and_warns_of(model: Model) -> None:
    runner = runner_for(model, None)
    with pytest.raises(SettingsError, match="max_new_tokens must be at least 1"):
        list(stream_with(runner, "w3", max_new_tokens=0))
    with pytest.warns(EdgeLorahubWarning, match="text 7 has 4 tokens and is cut to 2"):
        list(stream_with(runner, "w3 w4 w5", max_new_tokens=1, max_input_tokens=2, first=7))


@given(st.lists(st.sampled_from(["a", "n", "t", "'", "n't", "'s", "s", ".", ",", " ", "?", "ve"]), max_size=12))
def test_what_was_shown_stays_when_spaces_are_cleaned_up(words: list[str]) -> None:
    def cleaned(count: int) -> str:
        text = " ".join(words[:count])
        for old, new in REPLACEMENTS:
            text = text.replace(old, new)
        return text

    states = [cleaned(count) for count in range(len(words) + 1)]
    assert "".join(pieces(states, Stops())) == states[-1]


def test_pieces_of_t5s_tokens(shared: Path) -> None:
    tokenizer = Tokenizer.from_file(str(shared / "t5-tokenizer" / "tokenizer.json"))
    replacements = [decoders.Replace(*pair) for pair in REPLACEMENTS]
    tokenizer.decoder = decoders.Sequence([tokenizer.decoder, decoders.Fuse(), *replacements])
    rng = np.random.default_rng(0)
    awkward = tokenizer.encode("do n't , I 'm ' x ' . ? 've { n ' t  ' s ve re m").ids
    for _ in range(300):
        row = [int(rng.choice(awkward) if rng.random() < 0.8 else rng.integers(32100)) for _ in range(20)]
        states = [tokenizer.decode(row[:count]) for count in range(len(row) + 1)]
        assert "".join(pieces(states, Stops())) == states[-1]


def test_a_decoder_that_changes_everything_gives_the_whole_answer_anew() -> None:
    assert list(pieces(["a b c", "x y z w"], Stops()))[-1] == "\nx y z w"


def test_nothing_in_nothing_out() -> None:
    assert list(pieces([], Stops())) == [""]


@pytest.mark.parametrize("texts", ["w3 w4", b"w3", [3], [None], [["w3"]], ["w3", 4]])
def test_what_is_no_list_of_texts_is_refused(model: Model, texts: object) -> None:
    with pytest.raises(SettingsError, match="must be a"):
        generate(model, texts)  # type: ignore[arg-type]


def test_texts_may_come_from_a_generator_and_answers_are_counted(model: Model) -> None:
    done: list[int] = []
    answers = generate(model, (text for text in TEXTS), max_new_tokens=2, batch_size=3, on_answers=done.append)
    assert answers == generate(model, TEXTS, max_new_tokens=2)
    assert sum(done) == len(TEXTS)
    assert max(done) <= 3


def start(*arguments: object, **streams: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "edge_lorahub", *map(str, arguments)]
    return subprocess.Popen(command, **streams)


@pytest.mark.parametrize("options", [(), ("--batch-size", 2)])
def test_lines_of_a_pipe_are_answered_as_they_come(model: Model, bundle: Path, options: tuple[object, ...]) -> None:
    answers = generate(model, TEXTS[:5], max_new_tokens=3)
    arguments = ("generate", bundle, "--max-new-tokens", 3, "--threads", 1, *options)
    with start(*arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        at_once = 2 if options else 1
        for begin in range(0, 4, at_once):
            process.stdin.write("".join(f"{text}\n" for text in TEXTS[begin : begin + at_once]).encode())
            process.stdin.flush()
            # would wait for ever if the command waited for the end of its input
            found = [process.stdout.readline().decode() for _ in range(at_once)]
            assert found == [f"{answer}\n" for answer in answers[begin : begin + at_once]]
        process.stdin.write(TEXTS[4].encode())
        process.stdin.close()
        assert process.stdout.read().decode() == f"{answers[4]}\n"
        assert process.wait(30) == 0


def test_a_redirected_file_and_empty_lines(
    run: Callable[..., Result], bundle: Path, tmp_path: Path, fails: Callable[..., str]
) -> None:
    content = f"\n{TEXTS[1]}\n\n{TEXTS[2]}\n\n"
    path = tmp_path / "texts"
    path.write_text(content)
    with path.open("rb") as file:
        arguments = ("generate", bundle, "--max-new-tokens", 2, "--json")
        process = start(*arguments, stdin=file.fileno(), stdout=subprocess.PIPE)
        out, _ = process.communicate()
    assert out.decode() == run(*arguments, stdin=content).stdout
    assert out.count(b"\n") == 5
    assert "no texts" in fails("generate", bundle, stdin="\n \n")
    assert "standard input, line 2: not UTF-8" in fails("generate", bundle, stdin=b"w3\n\xff\n")


@pytest.fixture(scope="module")
def short_decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 40 positions, and without a token that begins a text: an empty one gives no tokens."""
    folder = tmp_path_factory.mktemp("short")
    checkpoint = write_checkpoint(folder / "checkpoint", TINY["llama"] | {"max_position_embeddings": 40})
    return export_decoder(checkpoint, folder / "bundle").out


@pytest.mark.parametrize("options", [(), ("--batch-size", 3), ("--batch-size", 100)])
def test_a_line_that_cannot_be_answered_ends_no_other(
    run: Callable[..., Result], short_decoder: Path, options: tuple[object, ...]
) -> None:
    command = ("generate", short_decoder, "--max-new-tokens", 3, *options)
    texts = ["w5 w6", "", "w7", "w8 " * 50, "w9 w5", "", "w4"]
    right = [None if not text or len(text) > 100 else run(*command, text).stdout for text in texts]
    done = run(*command, stdin="".join(f"{text}\n" for text in texts))
    assert done.exit_code == 2
    assert done.stdout.splitlines(keepends=True) == [answer or "\n" for answer in right]
    lines = done.stderr.splitlines()
    assert [line.split()[2] for line in lines if "gives no tokens" in line] == ["2", "6"]
    assert sum("a prompt has 50 tokens" in line for line in lines) == 1
    assert len(lines) == 3
    rows = [json.loads(line) for line in run(*command, "--json", stdin="w5 w6\n\nw7\n").stdout.splitlines()]
    assert [row["output"] for row in rows] == [str(right[0]).rstrip("\n"), None, str(right[2]).rstrip("\n")]
    assert "gives no tokens" in rows[1]["error"]


def test_the_rest_of_a_group_is_warned_of_once(run: Callable[..., Result], short_decoder: Path) -> None:
    command = ("generate", short_decoder, "--max-new-tokens", 3, "--max-input-tokens", 4, "--batch-size", 9)
    done = run(*command, stdin="w5\n" + "w5 w6 w7 w8 w9\n" * 3 + "\n" * 2 + "w5 w6 w7 w8 w9\n")
    said = [line for line in done.stderr.splitlines() if "is cut to 4" in line]
    assert [line.split()[2] for line in said] == ["2", "3", "4", "7"]


def on_a_terminal(*arguments: object) -> tuple[list[bytes], int]:
    """What a command writes to a terminal, as it comes, and its exit code."""
    import pty

    control, terminal = pty.openpty()
    process = start(*arguments, stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal)
    os.close(terminal)
    found = []
    try:
        while block := os.read(control, 1 << 16):
            found.append(block)
    except OSError:  # Linux's way of saying that the other end is closed
        pass
    os.close(control)
    return found, process.wait(30)


@pytest.mark.skipif(sys.platform == "win32", reason="no terminals of this kind")
def test_a_terminal_gets_the_whole_answer(model: Model, bundle: Path) -> None:
    blocks, code = on_a_terminal("generate", bundle, TEXTS[3], "--max-new-tokens", 300, "--threads", 1)
    assert code == 0
    assert b"".join(blocks).decode() == generate(model, [TEXTS[3]], max_new_tokens=300)[0] + "\r\n"


def test_a_terminal_is_shown_a_piece_at_a_time(model: Model, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = shown(monkeypatch, "generate", bundle, TEXTS[3], "--max-new-tokens", 40, "--threads", 1)
    assert "".join(pieces) == generate(model, [TEXTS[3]], max_new_tokens=40)[0] + "\n"
    assert len(pieces) > 20


@pytest.mark.skipif(sys.platform == "win32", reason="no terminals of this kind")
@pytest.mark.parametrize("command", ["generate", "evaluate"])
def test_progress_is_shown_on_a_terminal(bundle: Path, examples_file: Path, command: str) -> None:
    source = ("--file", examples_file) if command == "generate" else (examples_file,)
    arguments = (command, bundle, *source, "--max-new-tokens", 2)
    blocks, code = on_a_terminal(*arguments, "--batch-size", 1)
    assert code == 0
    assert b"5/5" in b"".join(blocks)
    # a single batch has nothing to show
    blocks, code = on_a_terminal(*arguments)
    assert code == 0
    assert b"5/5" not in b"".join(blocks)

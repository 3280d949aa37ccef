"""Files of examples: every accepted spelling and layout, and what is refused with its place in the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_lorahub.errors import EdgeLorahubWarning, ExamplesError, MissingPathError, SettingsError
from edge_lorahub.examples.example import Example, fingerprint, read_examples, read_inputs

PAIRS = [("one", "1"), ("two", "2"), ("three", "3")]
EXPECTED = [Example(*pair) for pair in PAIRS]
SPELLINGS = [
    ("input", "output"), ("context", "completion"), ("input", "target"), ("question", "answer"),
    ("prompt", "completion"), ("prompt", "response"), ("instruction", "output"), ("instruction", "response"),
    ("inputs", "targets"),
]  # fmt: skip


def records(first: str, second: str) -> list[dict[str, str]]:
    return [{first: a, second: b} for a, b in PAIRS]


def jsonl(path: Path, *lines: object) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("layout", ["jsonl", "list", "object"])
def test_every_spelling_in_every_layout(tmp_path: Path, spelling: tuple[str, str], layout: str) -> None:
    rows = records(*spelling)
    if layout == "jsonl":
        path = jsonl(tmp_path / "x.jsonl", *rows)
    else:
        path = tmp_path / "x.json"
        path.write_text(json.dumps(rows if layout == "list" else {"canary": "...", "examples": rows}))
    assert read_examples(path) == EXPECTED
    assert read_examples(str(path)) == EXPECTED
    assert read_inputs(path) == [a for a, _ in PAIRS]


def test_another_ending_is_read_as_jsonl(tmp_path: Path) -> None:
    assert read_examples(jsonl(tmp_path / "x.txt", *records("input", "output"))) == EXPECTED
    (tmp_path / "x.JSON").write_text(json.dumps(records("input", "output")))
    assert read_examples(tmp_path / "x.JSON") == EXPECTED


def test_output_wins_over_target(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", {"id": 7, "input": "one", "output": "1", "target": "no", "context": "no"})
    with pytest.warns(
        EdgeLorahubWarning, match="under 'target' \\(1 of 1\\), 'context' \\(1 of 1\\); used: 'input' and"
    ):
        assert read_examples(path) == EXPECTED[:1]


@pytest.mark.parametrize("name", ["x.jsonl", "x.json"])
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path, name: str) -> None:
    rows = records("input", "output")
    text = json.dumps(rows) if name.endswith("json") else "\n".join(map(json.dumps, rows))
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_examples(tmp_path / name) == EXPECTED


def test_blank_lines_windows_line_ends_and_no_last_newline(tmp_path: Path) -> None:
    lines = [json.dumps(row) for row in records("input", "output")]
    (tmp_path / "x.jsonl").write_bytes(f"\r\n{lines[0]}\r\n\n   \n{lines[1]}\n{lines[2]}".encode())
    assert read_examples(tmp_path / "x.jsonl") == EXPECTED


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85", "\u00a0", "é", "😀"])
def test_characters_that_are_no_line_ends(tmp_path: Path, character: str) -> None:
    text = json.dumps({"input": f"a{character}b", "output": f"{character}."}, ensure_ascii=False)
    (tmp_path / "x.jsonl").write_bytes(f"{text}\n{text}\n".encode())
    assert read_examples(tmp_path / "x.jsonl") == [Example(f"a{character}b", f"{character}.")] * 2


def test_texts_keep_their_spaces_and_lines(tmp_path: Path) -> None:
    example = {"input": "  Q:\n\tone ", "output": " 1\n"}
    assert read_examples(jsonl(tmp_path / "x.jsonl", example)) == [Example(**example)]


def test_limit_takes_from_the_front(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", *records("input", "output"))
    assert read_examples(path, limit=2) == EXPECTED[:2]
    assert read_examples(path, limit=99) == EXPECTED


def test_skip_leaves_out_the_front_and_comes_before_the_limit(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", *records("input", "output"))
    assert read_examples(path, skip=1) == EXPECTED[1:]
    assert read_examples(path, skip=1, limit=1) == EXPECTED[1:2]
    assert read_examples(path, skip=2, limit=9) == EXPECTED[2:]
    with pytest.raises(ExamplesError, match="skipping 3 leaves nothing of its 3 examples"):
        read_examples(path, skip=3)
    with pytest.raises(SettingsError, match="skip must be at least 0"):
        read_examples(path, skip=-1)


@pytest.mark.parametrize("seed", [None, 0, 3])
def test_the_first_n_and_the_rest_are_all_and_share_none(tmp_path: Path, seed: int | None) -> None:
    path = jsonl(tmp_path / "x.jsonl", *({"input": f"i{n}", "output": f"o{n}"} for n in range(12)))
    whole = read_examples(path, shuffle_seed=seed)
    assert read_examples(path, limit=5, shuffle_seed=seed) + read_examples(path, skip=5, shuffle_seed=seed) == whole


def test_shuffling_is_the_seeds_alone_and_comes_before_the_limit(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", *({"input": f"i{n}", "output": f"o{n}"} for n in range(40)))
    plain, shuffled = read_examples(path), read_examples(path, shuffle_seed=3)
    assert shuffled != plain
    assert sorted(shuffled, key=lambda e: int(e.input[1:])) == plain
    assert read_examples(path, shuffle_seed=3) == shuffled
    assert read_examples(path, shuffle_seed=4) != shuffled
    assert read_examples(path, shuffle_seed=0) != plain
    assert read_examples(path, shuffle_seed=3, limit=5) == shuffled[:5]
    # Mersenne Twister and Fisher-Yates as Python's random has them: the same on every machine
    assert [e.input for e in shuffled[:5]] == ["i5", "i14", "i18", "i3", "i26"]


def test_inputs_alone_need_no_outputs(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", {"input": "one"}, {"context": "two"}, {"input": "", "output": "3"})
    assert read_inputs(path) == ["one", "two", ""]


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"input": "x"}, "no input with an output"),
        ({"output": "x"}, "no input with an output"),
        ({"text": "x", "label": "y"}, "got 'text', 'label'"),
        ({"input": "x", "completion": "y"}, "no input with an output"),
        ({}, "got nothing"),
        ([], "expected an object, got a list"),
        ("x", "expected an object, got a str"),
        (None, "expected an object, got a NoneType"),
        ({"input": "x", "output": ""}, "'output' must be a text that is not empty, got ''"),
        ({"input": " \n", "output": "y"}, "'input' must be a text that is not empty"),
        ({"input": "x", "output": 3}, "'output' must be a text that is not empty, got 3"),
        ({"context": None, "completion": "y"}, "'context' must be a text that is not empty, got None"),
        ({"input": ["x"], "target": "y"}, "'input' must be a text"),
    ],
)
def test_an_incomplete_example_is_refused_with_its_place(tmp_path: Path, record: object, words: str) -> None:
    good = {"input": "one", "output": "1"}
    path = jsonl(tmp_path / "x.jsonl", good, record)
    with pytest.raises(ExamplesError) as error:
        read_examples(path)
    assert str(error.value).startswith(f"{path}, line 2: ")
    assert words in str(error.value)
    (tmp_path / "x.json").write_text(json.dumps([good, record]))
    with pytest.raises(ExamplesError) as error:
        read_examples(tmp_path / "x.json")
    assert str(error.value).startswith(f"{tmp_path / 'x.json'}, example 2: ")
    assert words in str(error.value)


@pytest.mark.parametrize("record", [{"output": "x"}, {"input": 3}, ["x"], {"input": None, "output": "y"}])
def test_inputs_that_are_no_texts_are_refused(tmp_path: Path, record: object) -> None:
    with pytest.raises(ExamplesError, match=r"x\.jsonl, (line|example) 1: "):
        read_inputs(jsonl(tmp_path / "x.jsonl", record))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.jsonl", b"", "no examples in it"),
        ("x.jsonl", b"\n \n", "no examples in it"),
        ("x.json", b"[]", "no examples in it"),
        ("x.json", b'{"examples": []}', "no examples in it"),
        ("x.json", b"{}", "expected a list of examples"),
        ("x.json", b'{"examples": {"input": "a"}}', "expected a list of examples"),
        ("x.json", b"3", "expected a list of examples"),
        ("x.json", b"", "not valid JSON"),
        ("x.json", b'{"input": "a", "output": "b"}\n{"input": "a", "output": "b"}', "JSONL, name it .jsonl"),
        ("x.jsonl", b'\n{"input": "a", "output": "b"}\n{"input": ', "line 3: not valid JSON"),
        ("x.jsonl", b"[" * 100_000, "line 1: not valid JSON"),
        ("x.json", b"[" * 100_000, "not valid JSON"),
        ("x.jsonl", '{"input": "é", "output": "b"}'.encode("latin-1"), "not UTF-8 text"),
        ("x.jsonl", '{"input": "a", "output": "b"}'.encode("utf-16"), "not UTF-8 text"),
        ("x.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "a Git LFS pointer"),
    ],
)
def test_files_that_hold_no_examples(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    for read in (read_examples, read_inputs):
        with pytest.raises(ExamplesError) as error:
            read(path)  # type: ignore[operator]
        assert str(error.value).startswith(str(path))
        assert words in str(error.value)
        assert "\n" not in str(error.value)


def test_a_missing_file_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match="no such file of examples"):
        read_examples(tmp_path / "nothing.jsonl")
    with pytest.raises(ExamplesError, match="a folder, where a file of examples was expected"):
        read_examples(tmp_path)


def test_the_fingerprint_is_of_texts_and_order() -> None:
    assert fingerprint(EXPECTED) == fingerprint(list(EXPECTED))
    others = [
        EXPECTED[::-1],
        EXPECTED[:2],
        [Example("one1", ""), *EXPECTED[1:]],
        [Example("1", "one"), *EXPECTED[1:]],
        [],
    ]
    assert len({fingerprint(examples) for examples in [EXPECTED, *others]}) == 6
    # sha256 of '[["one", "1"]]': what a sidecar says today must be comparable with one of tomorrow
    assert fingerprint(EXPECTED[:1]) == "421a50002c8484f88940c80a44effaef335aae478602878b8c7f0d7b01ffcf1c"

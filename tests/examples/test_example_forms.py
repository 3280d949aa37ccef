"""What the files that people have hold is read whole, and what is left over is named."""

from __future__ import annotations

import json
import os
import threading
import warnings
from pathlib import Path

import pytest

from edge_lorahub.errors import EdgeLorahubWarning, ExamplesError
from edge_lorahub.examples.example import Example, read_examples, read_inputs


def write(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def read_quietly(path: Path) -> list[Example]:
    """The examples of a file that must give no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_examples(path)


def chat(*turns: tuple[str, str], role: str = "role", content: str = "content") -> list[dict[str, str]]:
    return [{role: speaker, content: text} for speaker, text in turns]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"instruction": "Add.", "input": "1 2", "output": "3"}, Example("Add.\n1 2", "3")),
        ({"instruction": "Say a.", "input": "", "output": "a"}, Example("Say a.", "a")),
        ({"instruction": "Say a.", "input": None, "output": "a"}, Example("Say a.", "a")),
        ({"instruction": "", "input": "1 2", "output": "3"}, Example("1 2", "3")),
        ({"output": "3", "input": "1 2", "instruction": "Add."}, Example("Add.\n1 2", "3")),
        ({"instruction": "Add.", "input": "1 2", "target": "3"}, Example("Add.\n1 2", "3")),
        ({"instruction": "Who?", "context": "It was I.", "response": "I"}, Example("Who?\nIt was I.", "I")),
        ({"instruction": "Guess.", "question": "1?", "answer": "2"}, Example("Guess.\n1?", "2")),
        ({"instruction": "Add.", "input": "1 2", "response": "3"}, Example("Add.\n1 2", "3")),
        ({"instruction": "Guess.", "question": "1?", "output": "2"}, Example("Guess.\n1?", "2")),
        ({"instruction": "Guess.", "input": "", "question": "1?", "output": "2"}, Example("Guess.\n1?", "2")),
        ({"instruction": "Guess.", "inputs": "1?", "completion": "2"}, Example("Guess.\n1?", "2")),
        ({"instruction": "Guess.", "inputs": "1?", "targets": "2"}, Example("Guess.\n1?", "2")),
        ({"instruction": "Guess.", "prompt": "1?", "target": "2"}, Example("Guess.\n1?", "2")),
        ({"messages": chat(("user", "hi"), ("assistant", "yo"))}, Example("hi", "yo")),
        (
            {"conversations": chat(("human", "hi"), ("gpt", "yo"), role="from", content="value")},
            Example("hi", "yo"),
        ),
    ],
)
def test_a_record_is_read_whole(tmp_path: Path, record: dict[str, object], expected: Example) -> None:
    path = write(tmp_path / "x.jsonl", record, record)
    assert read_quietly(path) == [expected] * 2
    assert read_inputs(path) == [expected.input] * 2


def test_a_system_text_stands_before_the_input_and_is_told_of_once(tmp_path: Path) -> None:
    turns = ("user", "hi"), ("assistant", "yo")
    path = write(
        tmp_path / "x.jsonl",
        *({"messages": chat(*first, *turns)} for first in ([("system", "Be.")], [], [("system", "A")])),
    )
    said = "2 of 3 conversations have a system text, which is put before the input"
    with pytest.warns(EdgeLorahubWarning, match=said) as caught:
        assert read_examples(path) == [Example(text, "yo") for text in ("Be.\nhi", "hi", "A\nhi")]
    assert len(caught) == 1
    with pytest.warns(EdgeLorahubWarning, match=said):
        assert read_inputs(path) == ["Be.\nhi", "hi", "A\nhi"]


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"messages": chat(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))},
         "got user, assistant, user, assistant; make an example of each turn"),
        ({"messages": chat(("assistant", "b"), ("user", "a"))}, "got assistant, user"),
        ({"messages": chat(("user", "a"))}, "one of an assistant"),
        ({"messages": []}, "got nothing"),
        ({"messages": "hello"}, "must be a list of objects"),
        ({"messages": [1, 2]}, "must be a list of objects"),
        ({"messages": [{"role": "user"}, {"role": "assistant", "content": "b"}]},
         "the user's 'content' must be a text"),
        ({"messages": [{"role": "user", "content": [{"text": "a"}]}, {"role": "assistant", "content": "b"}]},
         "the user's 'content' must be a text"),
        ({"instruction": "", "input": " ", "output": "b"}, "'instruction' and 'input' must be a text"),
        ({"instruction": "a", "input": ["b"], "output": "c"}, "'instruction' and 'input' must be a text"),
        ({"question": "a", "answer": 3}, "'answer' must be a text that is not empty, got 3"),
        ({"prompt": chat(("user", "a")), "completion": "b"}, "'prompt' must be a text"),
        ({"prompt": "a"}, "no input with an output, got 'prompt'"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_whole_is_refused(tmp_path: Path, record: object, words: str) -> None:
    path = write(tmp_path / "x.jsonl", {"input": "one", "output": "1"}, record)
    with pytest.raises(ExamplesError) as error:
        read_examples(path)
    assert str(error.value).startswith(f"{path}, line 2: ")
    assert words in str(error.value)


def warning_of(path: Path) -> str:
    with pytest.warns(EdgeLorahubWarning) as caught:
        read_examples(path)
    assert len(caught) == 1
    return str(caught[0].message)


def test_left_over_text_is_named_once_with_what_was_used(tmp_path: Path) -> None:
    rows = [{"question": f"q{i}", "answer": f"a{i}", "context": "text", "n": 3, "none": None} for i in range(9)]
    rows[0]["hint"] = {"deep": ["text"]}
    path = write(tmp_path / "x.jsonl", *rows)
    assert warning_of(path) == (
        f"{path}: there is text that is not used, under 'context' (9 of 9), 'hint' (1 of 9); "
        "used: 'question' and 'answer'"
    )


def test_left_over_text_in_messages_and_beside_the_examples_is_named(tmp_path: Path) -> None:
    messages = chat(("user", "hi"), ("assistant", "yo"))
    messages[1]["thinking"] = "hm"
    line = warning_of(write(tmp_path / "x.jsonl", {"messages": messages, "system": "Be."}))
    assert "under 'system' (1 of 1), 'messages.thinking' (1 of 1); used: 'messages'" in line
    path = tmp_path / "x.json"
    record = {"input": "a", "target": "b"}
    path.write_text(json.dumps({"canary": "text", "task_prefix": "Say.", "version": 1, "examples": [record]}))
    assert "under 'task_prefix' (beside 'examples'); used: 'input' and 'target'" in warning_of(path)


def test_what_holds_no_text_is_not_warned_of(tmp_path: Path) -> None:
    record = {"input": "a", "output": "b", "id": 7, "score": "0.5", "tags": [], "more": {}, "x": " ", "ok": True}
    read_quietly(write(tmp_path / "x.jsonl", record))


@pytest.mark.parametrize("value", [["3", "4"], {"a": "3"}, [["3"]], "nan", "infinity", "1e5", "1_000", "3 4", ["3", 4]])
def test_numbers_are_texts_where_they_may_be_choices(tmp_path: Path, value: object) -> None:
    record = {"question": "2+2?", "choices": value, "answer": "4"}
    assert "under 'choices' (1 of 1)" in warning_of(write(tmp_path / "x.jsonl", record))


@pytest.mark.parametrize("value", [" 12 ", "-3.5", "+7", "0", 3, [3, 4], None, ["", " "], {"a": 1.5}])
def test_a_number_alone_is_no_text(tmp_path: Path, value: object) -> None:
    read_quietly(write(tmp_path / "x.jsonl", {"question": "2+2?", "score": value, "answer": "4"}))


@pytest.mark.parametrize(
    "rows", ['"w10 w11\tw20\nw12 w13"\tw21\nw14\tw22\n', 'w1\t"w10 w11\n\nw12\tw13"\n', '"w1\tw2\r\nw3\tw4"\tw5\r\n']
)
def test_rows_with_tabs_that_a_quote_would_join_are_refused(tmp_path: Path, rows: str) -> None:
    path = tmp_path / "x.tsv"
    path.write_text("input\toutput\n" + rows, newline="")
    with pytest.raises(
        ExamplesError, match=r"line 2: a quote at the start of a text makes one cell of . lines and the ta"
    ):
        read_examples(path)


def test_rows_that_a_quote_may_have_joined_are_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text('input,output\n"w10 w11,w20\nw12 w13",w21\nw14,w22\n')
    with pytest.warns(
        EdgeLorahubWarning, match="line 2: a quote at the start of a text makes one cell of 2 lines, each"
    ):
        assert len(read_examples(path)) == 2
    path.write_text('input,output\n"one\ntwo, or three",w21\n"a ""quote"", a\nb",c\n"one\ntwo",3\n')
    assert read_quietly(path)[0] == Example("one\ntwo, or three", "w21")
    path = tmp_path / "x.tsv"
    path.write_text('input\toutput\n"one\ntwo"\tw21\n"a\tb"\tc\n')
    assert [example.input for example in read_quietly(path)] == ["one\ntwo", "a\tb"]


def test_a_long_cell_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"input,output\n{'w1 ' * 100_000},w2\n")
    assert len(read_quietly(path)[0].input) == 300_000


def test_what_is_deep_or_wide_is_said_in_short(tmp_path: Path) -> None:
    deep = json.loads("[" * 900 + '"text"' + "]" * 900)
    assert "under 'x' (1 of 1)" in warning_of(write(tmp_path / "x.jsonl", {"input": "a", "output": "b", "x": deep}))
    wide = {f"column {i}": "text" for i in range(1000)}
    line = warning_of(write(tmp_path / "y.jsonl", {"input": "a", "output": "b"} | wide))
    assert "'column 9' (1 of 1), and 990 more; used" in line
    with pytest.raises(ExamplesError, match="'column 9', and 990 more; expected"):
        read_examples(write(tmp_path / "z.jsonl", wide))


def test_forms_may_differ_in_a_file(tmp_path: Path) -> None:
    path = write(
        tmp_path / "x.jsonl", {"input": "a", "output": "b", "note": "n"}, {"question": "c", "answer": "d"}
    )  # fmt: skip
    line = warning_of(path)
    assert "'note' (1 of 2)" in line
    assert line.endswith("used: 'input' and 'output'; 'question' and 'answer'")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.csv", "input,output\na,b\nc,d\n", [("a", "b"), ("c", "d")]),
        ("x.CSV", "Input, Output\r\na,b\r\n", [("a", "b")]),
        ("x.csv", "input;output\na, or so;b\n", [("a, or so", "b")]),
        ("x.csv", "input\toutput\na\tb\n", [("a", "b")]),
        ("x.tsv", "question\tanswer\na, b\tc\n\nd\te", [("a, b", "c"), ("d", "e")]),
        ("x.csv", '\ufeffinput,output\n"a ""b"", c","d\ne"\n', [('a "b", c', "d\ne")]),
        ("x.csv", "instruction,input,output\nAdd.,1 2,3\nSay a.,,a\n", [("Add.\n1 2", "3"), ("Say a.", "a")]),
        ("x.csv", ",input,output\n0,a,b\n1,c,d\n", [("a", "b"), ("c", "d")]),
        ("x.csv", "output,input\n1,2\n", [("2", "1")]),
        ("x.data", "input,output\na,b\n", [("a", "b")]),
    ],
)
def test_tables_with_a_header(tmp_path: Path, name: str, content: str, expected: list[tuple[str, str]]) -> None:
    (tmp_path / name).write_bytes(content.encode())
    assert read_quietly(tmp_path / name) == [Example(*pair) for pair in expected]
    assert read_inputs(tmp_path / name) == [text for text, _ in expected]


def test_a_table_of_inputs_alone(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("id,input\n1,a\n2,b\n")
    assert read_inputs(tmp_path / "x.csv") == ["a", "b"]


def test_left_over_columns_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("id,input,hint,output\n1,a,h,b\n2,c,,d\n")
    assert "under 'hint' (1 of 2); used: 'input' and 'output'" in warning_of(tmp_path / "x.csv")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no examples in it"),
        ("input,output\n", "no examples in it"),
        ("a,b\nc,d\n", "line 1: no columns that make an example, got 'a', 'b'"),
        ("input,output\na,b\nc,d,e\n", "line 3: 3 cells under 2 column names"),
        ("input,output\na\n", "line 2: 1 cells under 2 column names"),
        ("input,output\n\"a\nb\",c\nd\n", "line 4: 1 cells"),
        ("input,output\n\"a\" b,c\n", "line 2: not a table's row"),
        ("input,output\n\"a,b\nc,d\n", "line 2: not a table's row"),
        ("input,input,output\na,b,c\n", "line 1: two columns are named 'input'"),
        ("input,output\na,\n", "line 2: 'output' must be a text that is not empty, got ''"),
        ("input,label\na,b\n", "line 2: no input with an output, got 'input', 'label'"),
    ],
)  # fmt: skip
def test_a_table_that_is_none_is_refused_with_its_line(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(content)
    with pytest.raises(ExamplesError) as error:
        read_examples(path)
    assert str(error.value).startswith(str(path))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", ["x.jsonl", "x", "x.json"])
@pytest.mark.parametrize("layout", ["list", "object"])
def test_json_under_another_name(tmp_path: Path, name: str, layout: str, indent: int | None) -> None:
    rows = [{"input": "a", "output": "b"}, {"input": "c", "output": "d"}]
    (tmp_path / name).write_text(json.dumps(rows if layout == "list" else {"examples": rows}, indent=indent))
    assert read_quietly(tmp_path / name) == [Example("a", "b"), Example("c", "d")]


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"input": "a", "input": "b", "output": "c"}\n')
    with pytest.raises(ExamplesError, match=r"line 1: .*the key 'input' is there twice"):
        read_examples(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@pytest.mark.parametrize(
    "content", ['{"input": "a", "output": "b"}\n', '[{"input": "a", "output": "b"}]', "input,output\na,b\n"]
)
def test_a_pipe_is_read_once(tmp_path: Path, content: str) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(content,), daemon=True)
    writer.start()
    assert read_examples(pipe) == [Example("a", "b")]
    writer.join(10)
    assert not writer.is_alive()


def test_files_of_examples_of_others(shared: Path) -> None:
    alpaca = read_quietly(shared / "cases" / "examples" / "alpaca.jsonl")
    assert alpaca == [Example("w5 w6 w7 w8\nw9", "w10"), Example("w20 w21 w22\nw9", "w11")]
    for path in sorted((shared / "bbh").glob("*.json")):
        records = json.loads(path.read_text(encoding="utf-8"))["examples"]
        assert read_quietly(path) == [Example(r["input"], r["target"]) for r in records]

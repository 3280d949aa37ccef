"""Tasks from files and folders, what is drawn of them, and the answers that their inputs can have."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_lorahub import Example
from edge_lorahub.comparison.choices import choices_of
from edge_lorahub.comparison.example_draws import draw
from edge_lorahub.comparison.task_files import Task, read_tasks
from edge_lorahub.errors import EdgeLorahubWarning, ExamplesError, MissingPathError, SettingsError


def lines(path: Path, pairs: list[tuple[str, str]], keys: tuple[str, str] = ("input", "output")) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(dict(zip(keys, pair, strict=True))) + "\n" for pair in pairs), encoding="utf-8")
    return path


def task_of(pairs: list[tuple[str, str]], name: str = "task") -> Task:
    examples = tuple(Example(*pair) for pair in pairs)
    return Task(name, Path(name), examples, examples)


NUMBERS = [(f"input {number}", f"output {number}") for number in range(12)]


def test_files_of_all_kinds_are_tasks(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", NUMBERS)
    examples = [{"input": one, "target": other} for one, other in NUMBERS]
    (tmp_path / "b.json").write_text(json.dumps({"canary": "x", "examples": examples}))
    (tmp_path / "c.csv").write_text("input,output\n" + "".join(f"{one},{other}\n" for one, other in NUMBERS))
    tasks = read_tasks([tmp_path])
    assert [task.name for task in tasks] == ["a", "b", "c"]
    assert all(task.inputs == tuple(Example(*pair) for pair in NUMBERS) == task.examples for task in tasks)


def test_the_released_codes_folder_has_a_split_of_its_own(tmp_path: Path) -> None:
    keys = ("context", "completion")
    for name in ("one", "zwei-ü"):
        lines(tmp_path / "bbh" / name / "zero_shot.jsonl", NUMBERS[4:], keys)
        lines(tmp_path / "bbh" / name / "example.jsonl", NUMBERS[:6], keys)
    lines(tmp_path / "bbh" / "one" / "few_shot.jsonl", NUMBERS[4:], keys)
    with pytest.warns(EdgeLorahubWarning, match=r"few_shot\.jsonl is not used"):
        one, other = read_tasks([tmp_path / "bbh"])
    assert (one.name, other.name) == ("one", "zwei-ü")
    assert [example.input for example in one.examples] == [text for text, _ in NUMBERS[:6]]
    for seed in range(5):
        found = draw(one, seed, 5, None)
        assert set(found.examples) <= set(one.examples)
        assert not {example.input for example in found.inputs} & {example.input for example in found.examples}
    assert read_tasks([tmp_path / "bbh" / "zwei-ü"]) == [other]


def test_half_a_released_folder_is_refused(tmp_path: Path) -> None:
    lines(tmp_path / "task" / "zero_shot.jsonl", NUMBERS)
    with pytest.raises(MissingPathError, match=r"no example\.jsonl"):
        read_tasks([tmp_path])


def test_what_is_no_task_in_a_folder_is_named(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", NUMBERS)
    (tmp_path / "LICENSE").write_text("MIT")
    (tmp_path / ".hidden").write_text("")
    (tmp_path / "more").mkdir()
    with pytest.warns(EdgeLorahubWarning, match="not taken for tasks: LICENSE, more$"):
        assert [task.name for task in read_tasks([tmp_path])] == ["a"]


@pytest.mark.parametrize("name", ["none", "empty"])
def test_a_folder_without_tasks_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises((ExamplesError, MissingPathError), match=name):
        read_tasks([tmp_path / name])


def test_two_tasks_of_one_name_are_refused(tmp_path: Path) -> None:
    paths = [lines(tmp_path / "a.jsonl", NUMBERS), lines(tmp_path / "other" / "a.jsonl", NUMBERS)]
    with pytest.raises(SettingsError, match="two tasks are called 'a'"):
        read_tasks(paths)


def test_a_name_that_no_file_can_hold_is_refused(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", NUMBERS)
    odd = path.rename(tmp_path / os.fsdecode(b"caf\xe9.jsonl"))
    with pytest.raises(ExamplesError, match="not UTF-8"):
        read_tasks([odd])


def test_text_that_no_tokenizer_takes_is_refused_by_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"input": "x", "output": "\\ud800"}\n')
    with pytest.raises(ExamplesError, match=r"a\.jsonl: not valid Unicode"):
        read_tasks([path])


def test_text_under_unknown_keys_is_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"input": f"i{n}", "output": "o", "hint": "text"}) + "\n" for n in range(9)))
    with pytest.warns(EdgeLorahubWarning, match="'hint'"):
        read_tasks([path])


def test_inputs_that_are_there_twice_are_taken_once(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [*NUMBERS, ("input 3", "other"), (" input 4 ", "output 4")])
    with pytest.warns(EdgeLorahubWarning, match="2 of 14 inputs are there before, 1 of them with several outputs"):
        (task,) = read_tasks([path])
    assert task.inputs == tuple(Example(*pair) for pair in NUMBERS)


@given(st.integers(2, 40), st.integers(0, 9), st.integers(1, 9), st.one_of(st.none(), st.integers(1, 40)))
def test_examples_are_never_among_the_inputs(size: int, seed: int, count: int, limit: int | None) -> None:
    task = task_of([(f"i{number}", "o") for number in range(size)])
    if count >= size:
        with pytest.raises(ExamplesError, match="--examples"):
            draw(task, seed, count, limit)
        return
    found = draw(task, seed, count, limit)
    assert len(set(found.examples)) == count
    assert len(set(found.inputs)) == min(size - count, limit or size)
    assert not set(found.examples) & set(found.inputs)
    assert draw(task, seed, count, limit) == found


def test_a_smaller_limit_takes_fewer_of_the_same() -> None:
    task = task_of(NUMBERS)
    assert draw(task, 1, 5, 3).inputs == draw(task, 1, 5, None).inputs[:3]
    assert draw(task, 1, 5, None) != draw(task, 2, 5, None)
    assert draw(task, 1, 5, None).examples != draw(task_of(NUMBERS, "other"), 1, 5, None).examples


def test_options_in_the_input_are_the_choices() -> None:
    text = "Q: Which day?\nOptions:\n(A) Monday\n(B) Tuesday - or later"
    task = task_of([(text, "(A)"), (text.replace("Which", "What"), "(B)")])
    assert choices_of(task, task.inputs) == (("(A)", "(B)"), ("(A)", "(B)"))
    asked = task_of(
        [("Valid?\nOptions:\n- valid \n- invalid", "valid"), ("True?\nOptions:\n- valid\n- invalid", "invalid")]
    )
    assert choices_of(asked, asked.inputs) == (("valid", "invalid"), ("valid", "invalid"))


def test_without_options_all_outputs_are_the_choices() -> None:
    task = task_of([("not True is", "False"), ("True is", "True"), ("not False is", "True")])
    assert choices_of(task, task.inputs[:1]) == (("False", "True"),)


@pytest.mark.parametrize("outputs", [["same"], [str(number) for number in range(40)]])
def test_a_task_without_choices_is_refused(outputs: list[str]) -> None:
    task = task_of([(f"i{place}", output) for place, output in enumerate(outputs)])
    with pytest.raises(ExamplesError, match="multiple choice"):
        choices_of(task, task.inputs)


def test_real_tasks_are_read(shared: Path) -> None:
    with pytest.warns(EdgeLorahubWarning) as caught:
        tasks = read_tasks([shared / "bbh"])
    said = "\n".join(str(one.message) for one in caught)
    assert "LICENSE" in said
    assert "causal_judgement.json: 2 of 187 inputs are there before, 2 of them with several outputs" in said
    assert len(tasks) == 12
    refused = []
    for task in tasks:
        try:
            found = choices_of(task, task.inputs)
        except ExamplesError:
            refused.append(task.name)
            continue
        assert all(example.output in choices for example, choices in zip(task.inputs, found, strict=True))
    assert refused == ["dyck_languages", "word_sorting"]

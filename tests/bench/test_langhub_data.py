"""The natural-language hub's data: its skills, forms, mixtures and unseen tasks, without torch."""

from __future__ import annotations

import json

import pytest

from edge_lorahub.bench.langhub.forms import FORMS, PLAIN
from edge_lorahub.bench.langhub.mixture import VAGUE, module_mixture, own_task, task_examples
from edge_lorahub.bench.langhub.skills import Skill, all_skills, is_held_out
from edge_lorahub.bench.langhub.unseen import DEV_TASKS, MODULES, SKILLS, TEST_TASKS, in_training
from edge_lorahub.bench.langhub.words import Words, read_words, vocabulary_words
from edge_lorahub.errors import MissingDependencyError
from edge_lorahub.langhub import TASKS
from edge_lorahub.tinyhub.draws import Draws

UNSEEN = (*DEV_TASKS, *TEST_TASKS)
# Made-up words stand for those of the packages.
STEMS = tuple(a + b for a in ("bal", "cor", "dem", "fil", "gon", "lat", "mur", "pes", "rit", "tov") for b in "aeiouy")
SKILL_TABLE = all_skills(
    Words(
        past=tuple((stem, stem + "ed") for stem in STEMS),
        gerund=tuple((stem, stem + "ing") for stem in STEMS),
        plural=tuple((stem, stem + "s") for stem in STEMS),
        comparative=tuple((stem, stem + "er") for stem in STEMS),
        article=tuple((stem, f"a {stem}") for stem in STEMS),
        number=tuple((str(n), f"number {n}") for n in range(1, 100)),
    )
)


def given_of(asked: str) -> str:
    """The input, which is all behind the first line."""
    return asked.partition("\n")[2]


@pytest.mark.parametrize("skill", SKILL_TABLE.values(), ids=lambda skill: skill.name)
def test_training_and_held_out_inputs_have_nothing_in_common(skill: Skill) -> None:
    train, held_out = ({given for given, _ in pairs} for pairs in (skill.train, skill.held_out))
    assert train
    assert held_out
    assert not train & held_out
    assert len(train) == len(skill.train)
    assert len(held_out) == len(skill.held_out)


def test_a_held_out_word_is_so_for_every_skill() -> None:
    for name in ("past", "gerund", "plural", "comparative", "article"):
        assert {given for given, _ in SKILL_TABLE[name].held_out} == {stem for stem in STEMS if is_held_out(stem)}
    for given, _ in SKILL_TABLE["reverse"].train:
        assert not any(map(is_held_out, given.split()))


def test_the_rules_of_the_skills_hold() -> None:
    for given, answer in SKILL_TABLE["reverse"].train:
        assert answer.split() == given.split()[::-1]
    for given, answer in SKILL_TABLE["bigger"].train:
        assert int(answer) == max(int(number) for number in given.split(" or "))
    assert {answer for _, answer in SKILL_TABLE["sentiment"].train} == {"positive", "negative"}


def test_the_demonstrations_tasks_are_dev_tasks() -> None:
    assert list(TASKS) == [task.name for task in DEV_TASKS if task.name in TASKS]


def test_every_form_is_written_around_the_answer() -> None:
    for name, form in FORMS.items():
        written = form.write("go", "went there")
        assert ("Went There" if name == "title" else "went there") in written
    assert json.loads(FORMS["json"].write("", 'a "b"')) == {"answer": 'a "b"'}
    assert FORMS["arrow"].write("go", "went") == "go -> went"
    assert FORMS["twice"].write("go", "went") == "went, went"


def test_the_tables_name_what_is_there() -> None:
    assert set(SKILLS) == set(SKILL_TABLE)
    assert len(MODULES) == len(set(MODULES)) == len(SKILLS) + len(FORMS) - 1
    assert len(set(UNSEEN)) == len(UNSEEN)
    for task in UNSEEN:
        assert set(task.needs) <= set(MODULES)
        assert not in_training(task.skill, task.form)
    for skill in SKILLS:
        assert any(task.skill == skill for task in DEV_TASKS)
        assert any(task.skill == skill for task in TEST_TASKS)
        assert sum(in_training(skill, form) for form in FORMS) >= 4
    for form in FORMS:
        assert sum(in_training(skill, form) for skill in SKILLS) >= 5


@pytest.mark.parametrize("name", MODULES)
def test_a_module_never_sees_an_unseen_combination_or_a_held_out_input(name: str) -> None:
    draws, mixture = Draws(3), module_mixture(name)
    held_out = {given for skill in SKILL_TABLE.values() for given, _ in skill.held_out}
    unseen = {
        (given, FORMS[task.form].write(given, answer))
        for task in UNSEEN
        for given, answer in SKILL_TABLE[task.skill].train
    }
    phrases = FORMS[mixture.form].phrases if mixture.form else SKILL_TABLE[mixture.skill or ""].phrases
    drawn = [mixture.draw(SKILL_TABLE, draws) for _ in range(300)]
    for asked, answer in drawn:
        assert given_of(asked) not in held_out
        assert (given_of(asked), answer) not in unseen
        assert asked.partition("\n")[0] not in phrases
    vague = sum(asked.partition("\n")[0] in VAGUE for asked, _ in drawn)
    assert 100 < vague < 200


@pytest.mark.parametrize("name", MODULES)
def test_a_modules_own_task_is_on_held_out_inputs_and_states_the_other_part(name: str) -> None:
    pairs = own_task(name, SKILL_TABLE, 20)
    assert len(dict(pairs)) == len(pairs) == 20
    trained = {given for skill in SKILL_TABLE.values() for given, _ in skill.train}
    for asked, _ in pairs:
        assert given_of(asked) not in trained
        assert asked.partition("\n")[0] not in VAGUE


def test_more_examples_of_an_unseen_task_begin_with_the_fewer() -> None:
    for task in UNSEEN:
        pairs = task_examples(task, SKILL_TABLE, 12, 1)
        assert pairs[:5] == task_examples(task, SKILL_TABLE, 5, 1)
        assert len({given_of(asked) for asked, _ in pairs}) == len(pairs)
        assert all(asked.partition("\n")[0] in VAGUE for asked, _ in pairs)
        assert pairs[:5] != task_examples(task, SKILL_TABLE, 5, 2)


def test_modules_of_no_name_are_refused() -> None:
    for name in ("do-", "form-plain", "past"):
        with pytest.raises(ValueError, match="unknown module"):
            module_mixture(name)
    assert PLAIN in FORMS


def test_words_are_whole_lower_case_tokens_in_the_order_of_their_ids() -> None:
    vocabulary = {"Ġwalk": 3, "Ġgo": 2, "Ġtalk": 1, "walk": 0, "ĠWalk": 4, "Ġcafé": 5, "Ġx9y": 6}
    assert vocabulary_words(vocabulary) == ["talk", "walk"]


def test_forms_are_those_of_the_packages() -> None:
    for package in ("lemminflect", "inflect", "num2words"):
        pytest.importorskip(package)
    tokens = ("go", "went", "going", "apple", "apples", "big", "bigger", "walk", "walked", "walking", "find", "found")
    tokens = (*tokens, "took", "take", "taking", "rush", "rushed")
    vocabulary = {f"Ġ{token}": number for number, token in enumerate(tokens)}
    words = read_words(vocabulary | {token: 100 + place for place, token in enumerate(tokens) if token != "rush"})
    assert "rush" not in dict(words.past), "it is no token at the front of a line"
    assert ("walk", "walked") in words.past
    assert ("take", "took") in words.past
    assert ("take", "taking") in words.gerund
    assert ("find", "found") in words.past
    assert words.plural == (("apple", "apples"),)
    assert words.article == (("apple", "an apple"),)
    assert ("big", "bigger") in words.comparative
    assert dict(words.number)["342"] == "three hundred forty-two"


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "inflect", None)
    with pytest.raises(MissingDependencyError, match=r"inflect .* pip install 'edge-lorahub\[train\]'"):
        read_words({})

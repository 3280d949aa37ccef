"""Dataclasses to JSON and back: nothing is lost, and nothing of another type gets in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_lorahub.files.typed_json import LARGEST_INT, UnknownFieldError, read_as, to_json


@dataclass(frozen=True)
class Inner:
    share: float
    digits: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.share > 1:
            raise ValueError("share is more than all")


@dataclass(frozen=True)
class Outer:
    name: str
    maybe: float | None
    sure: bool
    inner: Inner
    several: tuple[Inner, ...]
    by_name: Mapping[str, int | bool | str | tuple[int, ...] | None]
    later: str | None = None


NUMBERS = st.floats(allow_nan=False, allow_infinity=False, max_value=1)
COUNTS = st.integers(0, LARGEST_INT)
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
INNERS = st.builds(Inner, NUMBERS, st.lists(COUNTS, max_size=3).map(tuple))
OUTERS = st.builds(
    Outer, TEXTS, st.none() | NUMBERS, st.booleans(), INNERS, st.lists(INNERS, max_size=3).map(tuple),
    st.dictionaries(TEXTS, COUNTS | st.booleans() | TEXTS | st.none() | st.lists(COUNTS, max_size=2).map(tuple)),
    st.none() | TEXTS,
)  # fmt: skip


@given(OUTERS)
def test_what_is_written_is_read_back(value: Outer) -> None:
    written = json.loads(json.dumps(to_json(value), allow_nan=False))
    assert ("later" in written) == (value.later is not None)
    again = read_as(Outer, written)
    assert again == value
    assert repr(again) == repr(value)  # 1, 1.0 and True are equal


SOUND = {"name": "x", "maybe": None, "sure": True, "inner": {"share": 0.5}, "several": [], "by_name": {}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": None}, "name is null, where a text was expected"),
        ({"name": "x" * 70_000}, f"name is '{'x' * 40}', where a text was expected"),
        ({"maybe": "1"}, "maybe is '1', where a number was expected"),
        ({"maybe": True}, "maybe is true, where a number was expected"),
        ({"sure": 1}, "sure is 1, where true or false was expected"),
        ({"inner": None}, "inner is null, where an object was expected"),
        ({"inner": {"share": 2}}, "inner.share is more than all"),
        ({"inner": {}}, "inner.share is missing"),
        ({"inner": {"share": 0, "digits": [3, -1]}}, "inner.digits[1] is -1, where a whole number from 0 was expected"),
        ({"several": [{"share": 0}, 3]}, "several[1] is 3, where an object was expected"),
        ({"several": {"share": 0}}, "several is an object, where a list was expected"),
        ({"by_name": {"a": 1.5}}, "by_name.a is 1.5, where a whole number from 0 or true or false or a text or a list"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, object], words: str) -> None:
    assert read_as(Outer, SOUND) == Outer("x", None, True, Inner(0.5), (), {})
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the words are compared
        read_as(Outer, SOUND | change)
    assert str(caught.value).startswith(words)


def test_a_field_too_many_is_told_apart() -> None:
    with pytest.raises(UnknownFieldError, match=r"^inner\.more is a field that this program does not know$"):
        read_as(Outer, SOUND | {"inner": {"share": 0, "more": 1}})


@pytest.mark.parametrize("value", [None, [], "x", 3])
def test_what_is_no_object_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="where an object was expected"):
        read_as(Outer, value)

"""What a right answer is: two measures of texts, and functions of the user's, whose errors are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_lorahub import Example
from edge_lorahub.comparison.metrics import read_metric
from edge_lorahub.comparison.result import Machine, Result, Seconds
from edge_lorahub.errors import MissingPathError, SettingsError

INPUTS = (Example("a", "Yes."), Example("b", "no"))
RESULT = Result(("yes", "no"), "01", "11", 9, 0, Seconds(0, 1), Machine("p", "s", 1))


def function(folder: Path, body: str) -> str:
    (folder / "mine.py").write_text(f"def score(prediction, example):\n    {body}\n")
    return f"{folder / 'mine.py'}:score"


def test_texts_are_compared_by_two_measures() -> None:
    assert read_metric("exact").scores(RESULT, INPUTS) == [0.0, 1.0]
    assert read_metric("normalized").scores(RESULT, INPUTS) == [1.0, 1.0]
    assert read_metric("choice").scores(RESULT, INPUTS) == [0.0, 1.0]
    assert [read_metric(name).chooses for name in ("exact", "choice")] == [False, True]


def test_a_function_of_the_users_scores(tmp_path: Path) -> None:
    metric = read_metric(function(tmp_path, "return 0.5 if example.input == 'a' else prediction == example.output"))
    assert metric.scores(RESULT, INPUTS) == [0.5, 1.0]
    assert metric.name == "mine.py:score"
    changed = read_metric(function(tmp_path, "return True"))
    assert metric.sha256 != changed.sha256


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return 1 / 0", "answer 1 .*ZeroDivisionError"),
        ("return 2", "answer 1 .*gave 2"),
        ("return 'yes'", "gave 'yes'"),
        ("return '1'", "gave '1'"),
        ("return None", "gave None"),
        ("return float('nan')", "gave nan"),
        ("return [1]", r"gave \[1\]"),
    ],
)
def test_what_a_function_does_amiss_is_named(tmp_path: Path, body: str, said: str) -> None:
    metric = read_metric(function(tmp_path, body))
    with pytest.raises(SettingsError, match=said):
        metric.scores(RESULT, INPUTS)
    with pytest.raises(SettingsError, match=said):
        metric.check(INPUTS[0])


def test_texts_in_an_error_end_within_their_quotes(tmp_path: Path) -> None:
    metric = read_metric(function(tmp_path, "raise KeyError"))
    with pytest.raises(SettingsError, match=rf"answer 1 \('{'y' * 59}…' to 'a'\)"):
        metric.check(Example("a", "y" * 100))


def test_unknown_metrics_and_files_are_refused(tmp_path: Path) -> None:
    for text in ("accuracy", "", "mine.py", "mine.txt:score", "mine.py:not a name"):
        with pytest.raises(SettingsError, match="is unknown"):
            read_metric(text)
    with pytest.raises(MissingPathError):
        read_metric(f"{tmp_path}/none.py:score")
    with pytest.raises(SettingsError, match="has no function other"):
        read_metric(function(tmp_path, "return 1").replace(":score", ":other"))
    (tmp_path / "broken.py").write_text("def score(:\n")
    with pytest.raises(SettingsError, match=r"broken\.py: cannot be run \(SyntaxError"):
        read_metric(f"{tmp_path / 'broken.py'}:score")

"""How good an answer is: to the letter, as the released code compares, or by a function of the user's."""

from __future__ import annotations

import hashlib
import importlib.util
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import MissingPathError, SettingsError
from ..examples.example import Example
from ..files.user_path import user_path
from ..messages import quoted
from .result import Result

EXACT, NORMALIZED, CHOICE = "exact", "normalized", "choice"
NAMES = (EXACT, NORMALIZED, CHOICE)

# the prediction, and the example with its output -> right or wrong, or a share from 0 to 1
Function = Callable[[str, Example], object]


@dataclass(frozen=True)
class Metric:
    """A metric by its name; sha256 is the digest of the file that a function is in."""

    name: str
    sha256: str | None = None
    function: Function | None = None

    @property
    def chooses(self) -> bool:
        """Whether an answer is chosen among several, by its likelihood; else it is written token by token."""
        return self.name == CHOICE

    def scores(self, result: Result, inputs: Sequence[Example]) -> list[float]:
        """A number from 0 to 1 for each input. Raises SettingsError for what a function raises, or gives amiss."""
        if self.function is None:
            right = result.normalized if self.name == NORMALIZED else result.exact
            return [float(digit == "1") for digit in right]
        pairs = enumerate(zip(result.predictions, inputs, strict=True), 1)
        return [self._of_function(number, prediction, example) for number, (prediction, example) in pairs]

    def check(self, example: Example) -> None:
        """Calls a function of the user's with the right answer, before the slow part. Raises SettingsError."""
        if self.function is not None:
            self._of_function(1, example.output, example)

    def _of_function(self, number: int, prediction: str, example: Example) -> float:
        assert self.function is not None
        where = f"--metric {self.name}, answer {number} ({quoted(prediction)} to {quoted(example.input)})"
        try:
            value = self.function(prediction, example)
        except Exception as error:
            raise SettingsError(f"{where}: it raised {type(error).__name__}: {error}") from error
        try:
            score = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            score = math.nan
        if isinstance(value, str) or not 0 <= score <= 1:
            raise SettingsError(
                f"{where}: it gave {quoted(value)}; it has to give True, False, or a number from 0 to 1"
            )
        return score


def read_metric(text: str) -> Metric:
    """The metric that a text names: one of NAMES, or FILE.py:FUNCTION, whose file is run. Raises SettingsError."""
    if text in NAMES:
        return Metric(text)
    file, colon, name = text.rpartition(":")
    if not colon or not file.endswith(".py") or not name.isidentifier():
        raise SettingsError(f"metric {text!r:.80} is unknown; choose {', '.join(NAMES)} or FILE.py:FUNCTION")
    path = user_path(file)
    if not path.is_file():
        raise MissingPathError(f"{path}: no such file, of which --metric takes the function {name}")
    return Metric(f"{path.name}:{name}", hashlib.sha256(path.read_bytes()).hexdigest(), _function(path, name))


def _function(path: Path, name: str) -> Function:
    spec = importlib.util.spec_from_file_location(f"_edge_lorahub_metric_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise SettingsError(
            f"{path}: cannot be run ({type(error).__name__}: {error}), so --metric has no {name}"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise SettingsError(f"{path}: has no function {name}; --metric takes FILE.py:FUNCTION")
    found: Function = function
    return found

"""From a cell's description to its result. The same description gives the same answers in every process."""

from __future__ import annotations

import platform
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..bundle.manifest import MANIFEST
from ..composition.ancestry import warn_of_modules_examples
from ..composition.inputs import LoraInputs
from ..composition.stack import make_stack, plain_inputs
from ..errors import EdgeLorahubWarning, SettingsError
from ..evaluation.matches import compare, longest_output
from ..files.outputs import sha256
from ..learning.adaptation import learn
from ..learning.objective import WORST_LOSS
from ..learning.promise import card_text
from ..lora.modules import Modules
from ..machine.blas import one_blas_thread
from ..machine.processors import processor_name
from ..runtime.session import Model
from .answering import choose, count_tokens, write
from .best_single import best_single
from .cell import Cell, ModuleFolder, digest_of, versions
from .compared_methods import BEST_SINGLE, RANDOM, UNIFORM
from .few_shot import Question, questions
from .random_twins import random_twins
from .result import Machine, Result, Seconds

Float64 = NDArray[np.float64]
# Tokens that an answer may have beyond the longest output, as the same text can be written in other pieces.
_ROOM = 6


@dataclass(frozen=True)
class _Found:
    """The LoRA that a method answers with, and how it came about."""

    lora: LoraInputs
    weights: Mapping[str, float] | None = None
    trace: tuple[float, ...] | None = None
    best_single: str | None = None


def measure(cell: Cell) -> Result:
    """Measures a cell, on as many threads as it says. Reads its bundle and modules, and writes nothing.

    Raises SettingsError where other versions run here than the cell says, and what a search or an answer raises.
    """
    if (here := dict(versions())) != dict(cell.versions):
        odd = sorted(name for name in {*here, *cell.versions} if here.get(name) != cell.versions.get(name))
        raise SettingsError(
            f"{cell.name}: to be measured with {odd[0]} {cell.versions.get(odd[0])}, and {here.get(odd[0])} runs here; "
            "install the same versions everywhere"
        )
    with warnings.catch_warnings(record=True) as caught, one_blas_thread():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", EdgeLorahubWarning)
        return _measured(cell, caught)


def _measured(cell: Cell, caught: list[warnings.WarningMessage]) -> Result:
    model, settings = _model(cell.bundle, cell.bundle_sha256, cell.settings.threads), cell.settings
    most = settings.max_new_tokens
    if most is None:
        most = longest_output(model, cell.inputs, settings.prompt) + _ROOM
    began = time.perf_counter()
    found = _found(cell, model)
    learned = time.perf_counter()
    asked = _questions(cell, model, most)
    if cell.choices is None:
        answers = write(model, found.lora, asked, most, settings.max_input_tokens, settings.batch_size)
    else:
        answers = choose(model, found.lora, asked, cell.choices, settings.max_input_tokens)
    ended = time.perf_counter()
    compared = compare(answers, cell.inputs)
    return Result(
        predictions=tuple(answers),
        exact=_digits(compared.exact),
        normalized=_digits(compared.normalized),
        input_tokens=count_tokens(model, asked, settings.max_input_tokens),
        shortened=sum(one.examples < len(cell.examples) for one in asked) if cell.is_prompted else 0,
        seconds=Seconds(round(learned - began, 3), round(ended - learned, 3)),
        machine=Machine(processor_name(), platform.platform(), settings.threads),
        weights=found.weights,
        trace=found.trace,
        best_single=found.best_single,
        warnings=tuple(dict.fromkeys(str(one.message) for one in caught)),
    )


def _questions(cell: Cell, model: Model, most: int) -> list[Question]:
    settings = cell.settings
    if not cell.is_prompted:
        return [Question(settings.prompt, example.input) for example in cell.inputs]
    config = model.manifest.model
    room = settings.max_input_tokens
    if config.longest_input is not None:
        room = min(room, config.longest_input)
    if config.longest_text is not None:
        room = min(room, config.longest_text - most)
    return questions(model.bundle, settings.prompt, cell.examples, cell.inputs, room)


def _found(cell: Cell, model: Model) -> _Found:
    method, settings = cell.method, cell.settings
    if not method.needs_modules:
        return _Found(plain_inputs(()))
    modules = _twins(cell.modules, cell.seed) if method.kind == RANDOM else _modules(cell.modules)
    if method.kind != RANDOM:
        warn_of_modules_examples(modules, cell.inputs, "answered")
    if method.kind == UNIFORM:
        return _composed(model, modules, np.full(len(modules), 1 / len(modules)))
    if method.kind == BEST_SINGLE:
        one_hot = best_single(model, modules, cell.examples, settings.prompt, settings.max_input_tokens)
        return _composed(model, modules, one_hot, best=modules[int(one_hot.argmax())].name)
    search = method.settings(cell.seed, settings.max_input_tokens)
    found = learn(model, modules, cell.examples, search, workers=1, prompt=settings.prompt)
    losses = np.minimum([candidate.loss for candidate in found.trace], WORST_LOSS)
    trace = tuple(float(loss) for loss in np.minimum.accumulate(losses))
    weights = np.array([found.weights[module.name] for module in modules])
    return _composed(model, modules, weights, found.composition, trace)


def _composed(
    model: Model, modules: Modules, weights: Float64, composition: str = "exact",
    trace: tuple[float, ...] | None = None, best: str | None = None,
) -> _Found:  # fmt: skip
    lora = make_stack(list(modules), model.manifest, composition).inputs()
    lora.compose(weights)
    named = {module.name: float(weight) for module, weight in zip(modules, weights, strict=True)}
    return _Found(lora, named, trace, best)


def _digits(right: tuple[bool, ...]) -> str:
    return "".join("1" if one else "0" for one in right)


# A process measures one cell after the other of a bundle, most of them with the modules of one seed.
@lru_cache(maxsize=1)
def _model(bundle: Path, manifest_sha256: str, threads: int) -> Model:
    if sha256(bundle / MANIFEST) != manifest_sha256:
        raise SettingsError(f"{bundle}: is another bundle than when the comparison began; begin it again")
    return Model(bundle, threads=threads)


@lru_cache(maxsize=2)
def _modules(folders: tuple[ModuleFolder, ...]) -> Modules:
    modules = Modules.named([(one.name, one.folder) for one in folders])
    for module, one in zip(modules, folders, strict=True):
        if module.sha256 != one.sha256 or digest_of(card_text(module)) != one.card:
            raise SettingsError(
                f"{one.folder}: is another module, or has another card, than when the comparison began; begin it again"
            )
    return modules


@lru_cache(maxsize=1)
def _twins(folders: tuple[ModuleFolder, ...], seed: int) -> Modules:
    return random_twins(_modules(folders), seed, products=True)

"""The demonstration on the embedded hub: a tiny T5 and tasks of a made-up world."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from ..bench.quality import HELD_OUT, MOST_NEW_TOKENS, SHOTS
from ..comparison.best_single import best_single
from ..comparison.random_twins import random_twins
from ..composition.adapter import load_adapter
from ..errors import EdgeLorahubWarning
from ..evaluation.matches import evaluate
from ..examples.example import Example
from ..learning.adaptation import adapt
from ..lora.modules import Modules
from ..runtime.generation import generate
from ..runtime.session import load
from ..tinyhub import examples
from ..tinyhub.hub import module_folders, module_parents
from . import options
from .adapt import learn_with_progress
from .demo_bundle import base_bundle
from .demo_commands import print_commands
from .printable import say
from .search_report import print_answers, print_time, print_weights

if TYPE_CHECKING:
    from ..composition.adapter import Adapter
    from ..learning.settings import Settings
    from ..tinyhub import UnseenTask


def demonstrate(
    task: UnseenTask, kind: str, settings: Settings, threads: int | None, *, quiet: bool
) -> dict[str, Any]:  # fmt: skip
    """Learns the task, says what comes out unless it is to be quiet, and gives the figures."""
    pairs = [Example(*pair) for pair in examples(task.task, SHOTS + HELD_OUT, settings.seed)]
    shots, held_out = pairs[:SHOTS], pairs[SHOTS:]
    bundle = base_bundle()
    model = load(bundle, threads=threads)
    modules = Modules.load(module_folders(kind))
    if not quiet:
        say(
            f"{task.name}: {task.description}. The instruction before the colon is filler; only the examples tell.",
            "",
        )
        answers = generate(model, [e.input for e in shots], max_new_tokens=MOST_NEW_TOKENS)
        rows = [(e.input, e.output, answer) for e, answer in zip(shots, answers, strict=True)]
        options.print_table(["input", "output", "the plain model answers"], rows, numbers=False)
    result = learn_with_progress(model, modules, shots, settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeLorahubWarning)  # what was said of the search itself holds here as well
        noise = random_twins(modules, settings.seed, products=False)
        of_noise = adapt(model, noise, shots, settings).adapter
    single = modules[int(best_single(model, modules, shots).argmax())]
    adapter = result.compose(modules)
    adapters: dict[str, Adapter | None] = {
        "plain model": None,
        "best single module": load_adapter(single.folder),
        "random modules": of_noise,
        "adapted": adapter,
    }
    limits = {"max_new_tokens": MOST_NEW_TOKENS, "batch_size": HELD_OUT}
    measured = {who: evaluate(model, held_out, adapter=one, **limits) for who, one in adapters.items()}
    if not quiet:
        print_weights(result)
        shown = held_out[:SHOTS]
        texts = [example.input for example in shown]
        before = generate(model, texts, max_new_tokens=MOST_NEW_TOKENS)
        after = generate(model, texts, adapter=adapter, max_new_tokens=MOST_NEW_TOKENS)
        say("inputs that it has not seen:")
        print_answers(shown, before, after)
        options.print_table(
            [f"on {HELD_OUT} other inputs, %", "exact match", "normalized match"],
            [
                (who, f"{one.exact_match_percent:.1f}", f"{one.normalized_match_percent:.1f}")
                for who, one in measured.items()
            ],
        )
        print_time(result, racing=settings.racing and settings.optimizer == "cma")
        print_commands(
            bundle,
            task.name,
            module_parents(kind),
            settings,
            shots,
            held_out,
            threads,
            ("google/flan-t5-base", "flan-t5-base"),
        )
    return {
        "task": task.name,
        "modules": kind,
        "seed": settings.seed,
        "optimizer": result.optimizer,
        "composition": settings.chosen_composition,
        "candidates": len(result.trace),
        "seconds": round(result.seconds, 3),
        "loss": {"before": result.loss_before, "after": result.loss_after},
        "weights": result.weights,
        "exact_match_percent": {who: one.exact_match_percent for who, one in measured.items()},
        "normalized_match_percent": {who: one.normalized_match_percent for who, one in measured.items()},
    }

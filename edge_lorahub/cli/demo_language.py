"""The demonstration on a real language model, SmolLM2-135M-Instruct, beside prompting it with the same examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..bench.quality import SHOTS
from ..comparison.best_single import best_single
from ..comparison.few_shot import with_examples
from ..composition.adapter import load_adapter
from ..evaluation.matches import evaluate, longest_output
from ..examples.example import read_examples
from ..langhub import MODULES, TASKS, module_folders, packaged_model, task_file
from ..lora.modules import Modules
from ..runtime.generation import generate
from ..runtime.session import load
from . import options
from .adapt import learn_with_progress
from .demo_bundle import language_bundle
from .demo_commands import print_commands
from .printable import count_of, say
from .search_report import print_time, print_weights

if TYPE_CHECKING:
    from ..bundle.prompt import Prompt
    from ..composition.adapter import Adapter
    from ..learning.settings import Settings

# Tokens that an answer may have beyond the longest wanted one, as the same text can be written in other pieces.
_ROOM = 6
_LONGEST_INPUT = 2048


def demonstrate(name: str, settings: Settings, threads: int | None, *, quiet: bool) -> dict[str, Any]:
    """Learns the task, says what comes out unless it is to be quiet, and gives the figures.

    The seed says which five of the task's examples are learned from. Raises MissingDependencyError without the model.
    """
    gguf = packaged_model()
    pairs = read_examples(task_file(name))
    first = SHOTS * (settings.seed - 1) % len(pairs)
    pairs = [*pairs[first:], *pairs[:first]]
    shots, held_out = pairs[:SHOTS], pairs[SHOTS:]
    if not quiet:
        say(f"{name}: {TASKS[name]}. The instructions say nothing of it; only the examples tell.", "")
    bundle = language_bundle(gguf)
    model = load(bundle, threads=threads)
    modules = Modules.load(module_folders())
    own = model.manifest.prompt
    prompted = with_examples(own, shots)
    most = longest_output(model, pairs, own) + _ROOM
    if not quiet:
        answers = generate(model, [e.input for e in shots], max_new_tokens=most)
        rows = [(e.input, e.output, answer) for e, answer in zip(shots, answers, strict=True)]
        options.print_table(["input", "output", "the plain model answers"], rows, numbers=False)
    result = learn_with_progress(model, modules, shots, settings)
    single = modules[int(best_single(model, modules, shots).argmax())]
    adapter = result.compose(modules)
    ways: dict[str, tuple[Adapter | None, Prompt]] = {
        "plain model": (None, own),
        "prompted with the five": (None, prompted),
        "best single module": (load_adapter(single.folder), own),
        "adapted": (adapter, own),
    }
    inputs = [example.input for example in held_out]
    read = {
        who: float(np.mean([len(row) for row in model.bundle.sources(inputs, _LONGEST_INPUT, prompt=prompt)]))
        for who, (_, prompt) in ways.items()
    }
    measured = {
        who: evaluate(model, held_out, adapter=one, prompt=prompt, max_new_tokens=most)
        for who, (one, prompt) in ways.items()
    }
    if not quiet:
        print_weights(result)
        say("inputs that it has not seen:")
        options.print_table(
            ["input", "output", "plain model", "prompted with the five", "adapted"],
            [
                (e.input, e.output, *(measured[who].predictions[place] for who in ways if who != "best single module"))
                for place, e in enumerate(held_out[:SHOTS])
            ],
            numbers=False,
        )
        options.print_table(
            [f"on {count_of(len(held_out), 'other input')}", "exact match, %", "tokens read for an input"],
            [(who, f"{one.exact_match_percent:.1f}", f"{read[who]:.0f}") for who, one in measured.items()],
        )
        print_time(result, racing=settings.racing and settings.optimizer == "cma")
        print_commands(
            bundle,
            name,
            [MODULES],
            settings,
            shots,
            held_out,
            threads,
            ("HuggingFaceTB/SmolLM2-360M-Instruct", "smollm2-360m"),
        )
    return {
        "task": name,
        "seed": settings.seed,
        "optimizer": result.optimizer,
        "composition": settings.chosen_composition,
        "candidates": len(result.trace),
        "seconds": round(result.seconds, 3),
        "loss": {"before": result.loss_before, "after": result.loss_after},
        "weights": result.weights,
        "inputs": len(held_out),
        "exact_match_percent": {who: one.exact_match_percent for who, one in measured.items()},
        "tokens_read": {who: round(tokens, 1) for who, tokens in read.items()},
    }

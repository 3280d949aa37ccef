"""The examples that `adapt` learns from and those that it keeps aside, and what comes of both."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import EdgeLorahubWarning, ExamplesError, warn
from . import options
from .printable import count_of, say

if TYPE_CHECKING:
    from ..bundle.prompt import Prompt
    from ..composition.adapter import Adapter
    from ..examples.example import Example
    from ..learning.settings import Settings
    from ..lora.modules import Modules

# Examples that are used of a longer file, unless --limit says otherwise: five are usual, and time grows with them.
MOST_EXAMPLES = 20


def split(
    task: list[Example], holdout: int | float | None, limit: int | None, path: Path
) -> tuple[list[Example], list[Example]]:
    """The examples to learn from, and those kept aside."""
    kept = 0 if holdout is None else holdout if isinstance(holdout, int) else max(1, round(holdout * len(task)))
    if kept >= len(task):
        raise ExamplesError(f"{path}: keeping {kept} of {len(task)} examples aside leaves none to learn from")
    rest, held_out = task[: len(task) - kept], task[len(task) - kept :]
    if limit is None and len(rest) > MOST_EXAMPLES:
        warnings.warn(
            f"{path}: learning from the first {MOST_EXAMPLES} of {len(rest)} examples; --limit {len(rest)} takes them "
            f"all, and about {len(rest) / MOST_EXAMPLES:.1f} times as long",
            EdgeLorahubWarning,
            stacklevel=2,
        )
        limit = MOST_EXAMPLES
    options.warn_of_fewer(path, limit, len(rest))
    used = rest[:limit]
    if known := len([example for example in held_out if example in set(used)]):
        warn(
            f"{path}: {known} of {len(held_out)} examples kept aside are also among those that are learned from, so "
            "what is measured on them says little"
        )
    return used, held_out


def use(
    bundle: Path, adapter: Adapter, modules: Modules, task: list[Example], held_out: list[Example],
    settings: Settings, threads: int | None, prompt: Prompt, *, answers: bool, quiet: bool,
) -> dict[str, Any]:  # fmt: skip
    """Answers to the examples, and exact match on those kept aside, of the plain model and of the adapter.

    On those kept aside that of the best single module too, which is the one with the least loss on the examples.
    """
    from ..comparison.best_single import best_single
    from ..composition.adapter import load_adapter
    from ..composition.ancestry import warn_of_modules_examples
    from ..evaluation.matches import evaluate, longest_output
    from ..runtime.generation import MAX_NEW_TOKENS, generate
    from ..runtime.session import Model
    from .search_report import print_answers

    model = Model(bundle, threads=threads)
    longest = longest_output(model, [*(task if answers else []), *held_out], prompt)
    most, max_input_tokens = max(MAX_NEW_TOKENS, longest), settings.max_input_tokens
    found: dict[str, Any] = {}
    if answers:
        texts = [example.input for example in task]
        # the graphs that take an adapter first: they do for the plain model too
        after, before = (
            generate(model, texts, adapter=one, max_new_tokens=most, max_input_tokens=max_input_tokens, prompt=prompt)
            for one in (adapter, None)
        )
        found["answers"] = [
            {"input": e.input, "output": e.output, "plain": plain, "adapted": adapted}
            for e, plain, adapted in zip(task, before, after, strict=True)
        ]
        if not quiet:
            print_answers(task, before, after)
    if held_out:
        warn_of_modules_examples(modules, held_out, "kept aside")
        say(f"looking for the best of {count_of(len(modules), 'module')} alone", err=True)
        one_hot = best_single(
            model, modules, task, prompt, max_input_tokens, settings.max_output_tokens, settings.batch_tokens
        )
        single = modules[int(one_hot.argmax())]
        rows: dict[str, Adapter | None] = {
            "plain model": None,
            "best single module": load_adapter(single.folder),
            "adapted": adapter,
        }
        measured = {
            who: evaluate(
                model, held_out, adapter=one, max_new_tokens=most, max_input_tokens=max_input_tokens, prompt=prompt
            )
            for who, one in rows.items()
        }
        found["held_out"] = {
            "count": len(held_out),
            "best_single_module": single.name,
            **{
                who: {
                    "exact_match_percent": one.exact_match_percent,
                    "normalized_match_percent": one.normalized_match_percent,
                }
                for who, one in measured.items()
            },
        }
        if not quiet:
            options.print_table(
                [f"on {len(held_out)} examples kept aside, %", "exact match", "normalized match"],
                [
                    (
                        who if who != "best single module" else f"{who}, {single.name}",
                        f"{one.exact_match_percent:.1f}",
                        f"{one.normalized_match_percent:.1f}",
                    )
                    for who, one in measured.items()
                ],
            )
    return found

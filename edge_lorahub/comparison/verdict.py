"""What a comparison says, in sentences: how much is gained, how sure that is, and what limits it."""

from __future__ import annotations

from collections.abc import Sequence

from .bootstrap import BETTER, NEITHER, WORSE, Interval
from .measured import Difference, Measured
from .plan import Plan

# Of fewer tasks an interval says little about others.
_FEW_TASKS = 5
_MOST_NAMED = 12


def verdicts(differences: Sequence[Difference], *, searches: int) -> list[str]:
    """A sentence for each difference. searches: how many there are; the name of an only one goes without saying."""
    return [_sentence(one, named=searches > 1) for one in differences]


def notes(found: Measured, plan: Plan) -> list[str]:
    """What a reader has to know beside the figures."""
    said = []
    if plan.random_weights:
        base_model = plan.bundle.manifest.model.base_model
        said.append(f"By its name the base model {base_model!r} has random weights: accuracies mean nothing here.")
    if found.all_wrong:
        said.append("No method has a single answer right: accuracies say nothing here about which of them is better.")
    if len(plan.modules) > plan.count:
        said.append(
            f"Each seed has drawn {plan.count} of {len(plan.modules)} modules, and what none of those knows cannot be "
            "composed (--count)."
        )
    for method in found.methods:
        shortened = {
            task: sum(found.results[task, method.id, seed][1].shortened for seed in found.seeds) for task in found.tasks
        }
        if short := [f"{task} ({count})" for task, count in shortened.items() if count]:
            said.append(f"{_capital(method.label)}: inputs that had no room for all examples: {_some(short)}.")
    if len(found.tasks) < _FEW_TASKS:
        what = "one task" if len(found.tasks) == 1 else f"{len(found.tasks)} tasks"
        said.append(f"Of {what} the intervals say little about other tasks.")
    if len(found.seeds) == 1:
        said.append("Of one seed nothing is known of how much examples, modules and search matter: no deviation.")
    return said


def _sentence(one: Difference, *, named: bool) -> str:
    ours = one.method.label if named else "learned weights"
    other = one.against.label if named else one.against.label.partition(" (")[0]
    whole = one.whole
    if whole.says == NEITHER:
        text = f"are not distinguishable from {_the(other)} ({whole.points:+.1f} points, {_interval(whole)})"
    else:
        text = f"are {whole.says} than {_the(other)} by {abs(whole.points):.1f} points, {_interval(whole)}"
    text = f"{_capital(ours)} {text}"
    if len(one.tasks) == 1:
        return f"{text}."
    parts = []
    for says, words in ((WORSE, "worse on"), (NEITHER, "not distinguishable on")):
        names = [task for task, interval in one.tasks.items() if interval.says == says]
        # what is said of the whole need not be said of all tasks again
        if names and not (says == whole.says and len(names) == len(one.tasks)):
            parts.append(f"{words} {len(names)} of {len(one.tasks)} tasks ({_some(names)})")
    better = sum(interval.says == BETTER for interval in one.tasks.values())
    if whole.says != BETTER and better:
        parts.insert(0, f"better on {better} of {len(one.tasks)} tasks")
    return f"{'; '.join([text, *parts])}."


def _interval(one: Interval) -> str:
    """The ends in the direction that the sentence speaks of."""
    low, high = (-one.high, -one.low) if one.says == WORSE else (one.low, one.high)
    return f"95 % interval {low:.1f} to {high:.1f}"


def _the(label: str) -> str:
    return f"the {label}" if label.startswith(("plain", "best")) else label


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join([*names[:_MOST_NAMED], *([f"and {more} more"] if more > 0 else [])])

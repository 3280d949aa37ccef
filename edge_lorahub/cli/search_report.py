"""What is printed of a finished search: weights, what each module contributes, the examples before and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..messages import some_of
from . import options
from .printable import count_of, say

if TYPE_CHECKING:
    from ..examples.example import Example
    from ..learning.learned import Learned

# A text in a table of examples is cut to so many characters.
_MOST_CHARACTERS = 60
_MOST_NAMES = 8


def print_weights(result: Learned) -> None:
    """The modules by the size of their weight; with a surrogate, how much the loss rises without each of them."""
    rows = sorted(result.weights.items(), key=lambda item: -abs(item[1]))
    used = [row for row in rows if row[1]]
    if result.explanation is None:
        options.print_table(["module", "weight"], [(name, f"{weight:+.3f}") for name, weight in used])
    else:
        rises = dict(zip(result.weights, result.explanation.contributions.tolist(), strict=True))
        options.print_table(
            ["module", "weight", "loss without it", "95 % interval"],
            [(name, f"{weight:+.3f}", f"{rises[name][0]:+.3f}", _interval(*rises[name][1:])) for name, weight in used],
        )
    if len(used) < len(rows):
        unused = [name for name, weight in rows if not weight]
        say(f"{count_of(len(unused), 'module')} with weight 0: {some_of(unused, _MOST_NAMES)}")
    if result.untried:
        ended = not result.converged and len(result.trace) < result.budget
        reason = "the search was ended" if ended else "the budget was too small"
        say(f"in no candidate, as {reason}: {some_of(result.untried, _MOST_NAMES)}")


def _interval(low: float, high: float) -> str:
    return "-" if np.isnan(low) else f"{low:+.3f} to {high:+.3f}"


def print_losses(result: Learned, kind: str) -> None:
    rows = [(kind, f"{result.loss_before:.4f}", f"{result.loss_after:.4f}")]
    if result.losses_before is not None and result.losses_after is not None and len(result.losses_before) > 1:
        pairs = zip(result.losses_before, result.losses_after, strict=True)
        rows += [(f"example {i}", f"{before:.4f}", f"{after:.4f}") for i, (before, after) in enumerate(pairs, 1)]
    options.print_table(["loss", "plain model", "adapted"], rows)
    if result.explanation is None:
        return
    left_out, plain = result.explanation.left_out, result.explanation.plain
    if len(left_out):
        checked = len(result.explanation.checked)
        predicted = f"{len(left_out) - checked} predicted by the surrogate, {checked} evaluated"
        how = predicted if checked else "as the surrogate predicts"
        say(f"mean loss of the examples at weights learned without each of them, {how}: {left_out.mean():.4f}")
    for example in result.explanation.disagreeing:
        say(
            f"Warning: the examples do not agree: weights that suit the others give example {example + 1} a loss of "
            f"{left_out[example]:.4f}, the plain model {plain[example]:.4f}; check it, or give more examples",
            err=True,
        )


def print_answers(examples: Sequence[Example], before: Sequence[str], after: Sequence[str]) -> None:
    rows = [
        (_cut(e.input), _cut(e.output), _cut(plain), _cut(adapted))
        for e, plain, adapted in zip(examples, before, after, strict=True)
    ]
    options.print_table(["input", "output", "plain model", "adapted"], rows, numbers=False)


def print_time(result: Learned, *, racing: bool) -> None:
    count = len(result.trace)
    ended = "" if count == result.budget else f" of at most {result.budget}"
    ended += ": the surrogate sees nothing more to gain" if result.converged else ""
    raced = racing and result.explanation is None
    spared = f", {result.record.spared:.0%} of the work spared by racing" if raced else ""
    each = result.seconds / count
    if result.reused:
        reused = result.record.reused
        say(
            f"known from the earlier search: {count_of(reused.examples, 'example')} with "
            f"{count_of(reused.candidates, 'candidate')}, {count_of(result.reused, 'evaluation')}"
        )
    say(f"{count_of(count, 'candidate')}{ended}; {result.seconds:.1f} s, {each:.3f} s a candidate{spared}")


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"

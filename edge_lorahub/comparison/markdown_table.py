"""A comparison as Markdown: means, what learned weights have more, every task, sentences, and costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .bootstrap import BETTER, NEITHER, WORSE
from .compared_methods import Method
from .measured import Difference, Measured, Spread


def table(
    found: Measured, differences: Sequence[Difference], verdicts: Sequence[str], notes: Sequence[str], metric: str
) -> str:
    """All of it; what comes before "## Cost" depends on nothing but the answers."""
    lines = [f"Scores in %, by the metric {escaped(metric)}, over {_count(found)}.", ""]
    lines += _rows(["method", "mean", "best seed", "sd over seeds"], summary_rows(found))
    lines += _listed("Verdict", verdicts) + _listed("Notes", notes)
    if differences:
        lines += ["", "## Differences", ""]
        lines += _rows(
            ["method", "against", "points", "95 % interval", "better, worse, neither"], gain_rows(differences)
        )
    lines += ["", "## Tasks", ""]
    lines += _rows(["task", *(method.label for method in found.methods)], task_rows(found))
    lines += ["", "## Cost", ""]
    lines += _rows(["method", "input tokens an answer", "s to learn", "s an answer"], cost_rows(found))
    return "\n".join(lines) + "\n"


def summary_rows(found: Measured) -> list[list[str]]:
    """Of each method: its label, mean, best and deviation."""
    spreads = ((method, found.of_method(method)) for method in found.methods)
    return [[method.label, f"{one.mean:.1f}", f"{one.best:.1f}", _sd(one)] for method, one in spreads]


def gain_rows(differences: Sequence[Difference]) -> list[list[str]]:
    """Of each difference: what is compared, the points, the interval, and how many tasks say what."""
    rows = []
    for one in differences:
        says = [interval.says for interval in one.tasks.values()]
        counts = ", ".join(str(says.count(word)) for word in (BETTER, WORSE, NEITHER))
        whole = one.whole
        interval = f"{whole.low:+.1f} to {whole.high:+.1f}"
        rows.append([one.method.label, one.against.label, f"{whole.points:+.1f}", interval, counts])
    return rows


def task_rows(found: Measured) -> list[list[str]]:
    """Of each task the mean over seeds of every method, with the deviation where there is one."""
    rows = []
    for task in found.tasks:
        spreads = [found.of_task(task, method) for method in found.methods]
        rows.append([task, *(f"{one.mean:.1f}" + ("" if one.sd is None else f" ±{one.sd:.1f}") for one in spreads)])
    return rows


def cost_rows(found: Measured) -> list[list[str]]:
    """Of each method: tokens that the model reads for an answer, seconds to learn a task, seconds an answer."""
    rows = []
    for method in found.methods:
        tokens, learn, answer = cost(found, method)
        rows.append([method.label, f"{tokens:.0f}", f"{learn:.1f}", f"{answer:.3f}"])
    return rows


def cost(found: Measured, method: Method) -> tuple[float, float, float]:
    """Input tokens an answer, seconds to learn a task under a seed, and seconds an answer: means over all."""
    results = [found.results[task, method.id, seed][1] for task in found.tasks for seed in found.seeds]
    answers = sum(len(result.predictions) for result in results)
    tokens = sum(result.input_tokens for result in results) / answers
    learn = float(np.mean([result.seconds.learn for result in results]))
    return tokens, learn, sum(result.seconds.answer for result in results) / answers


def escaped(text: str) -> str:
    """A text that a Markdown table's cell shows as it is."""
    for character in "\\`*_|<[":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(map(escaped, head)) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return lines + ["| " + " | ".join(map(escaped, row)) + " |" for row in rows]


def _listed(title: str, sentences: Sequence[str]) -> list[str]:
    return ["", f"## {title}", "", *(f"- {escaped(sentence)}" for sentence in sentences)] if sentences else []


def _sd(one: Spread) -> str:
    return "" if one.sd is None else f"{one.sd:.1f}"


def _count(found: Measured) -> str:
    tasks, seeds = len(found.tasks), len(found.seeds)
    return f"{tasks} {'task' if tasks == 1 else 'tasks'} and {seeds} {'seed' if seeds == 1 else 'seeds'}"

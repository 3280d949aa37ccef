"""The page of a comparison: all of it from its results.json."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from .comparison_charts import difference_chart, score_chart, task_chart, trace_chart
from .module_map import module_map
from .page import ALL, Block, Facts, Group, Page, Points, Prose, Section, Table
from .results_file import SAYS, ComparedTask, Results, TaskResult
from .shown_text import NONE, count, interval, number, signed

# Tasks with charts of their own, and cells that are listed: results.json has the rest.
_MOST_TASKS, _MOST_CELLS = 40, 2_000
# Whether a surrogate assists a search, as it was asked for.
_SURROGATE = {True: "yes", False: "no", None: "where it can"}
# Metrics in words; another one is a user's function, and called as that.
METRICS = {"exact": "exact match", "normalized": "normalized match", "choice": "choice by likelihood"}


def comparison_page(name: str, results: Results, settings: Mapping[str, Any]) -> Page:
    """The page of a comparison; name: its folder's."""
    lead = (
        f"{count(len(results.methods), 'method')} on {count(len(results.tasks), 'task')} with "
        f"{count(len(results.seeds), 'seed')}: {results.bundle.base_model}, {results.bundle.precision}."
    )
    return Page(
        f"Comparison {name}",
        lead,
        (
            Section("verdicts", "What it says", tuple(_verdicts(results))),
            Section("table", "All methods", tuple(_summary(results))),
            Section("differences", "What learned weights add", tuple(_differences(results))),
            Section("tasks", "Task by task", tuple(_tasks(results))),
            Section("modules", "Which modules serve which tasks", tuple(_modules(results))),
            Section("cost", "Time, tokens and machines", tuple(_cost(results))),
            Section("settings", "Settings", tuple(_settings(results, settings))),
            Section("origin", "What went in", tuple(_origin(results))),
        ),
    )


def _verdicts(results: Results) -> Iterator[Block]:
    if results.bundle.random_weights:
        yield Points(
            ("The model's weights are random: scores mean nothing, and only the arithmetic can be looked at.",),
            "warning",
        )
    if results.warnings:
        yield Points(results.warnings, "warning")
    if results.verdicts:
        yield Points(results.verdicts)
    else:
        yield Prose("No verdict is recorded.")
    if results.notes:
        yield Points(results.notes, "note")


def method_labels(results: Results) -> dict[str, str]:
    """Method ids to the labels that people read."""
    return {method.id: method.label for method in results.methods}


def _summary(results: Results) -> Iterator[Block]:
    if not results.summary:
        yield Prose("No summary is recorded.")
        return
    names = method_labels(results)
    metric = METRICS.get(results.metric.name, results.metric.name)
    table = Table(
        f"Scores in percent, by {metric}, over {count(len(results.tasks), 'task')}",
        ("method", "mean", "best seeds", "sd over seeds"),
        [
            (names[one.method], number(one.mean_percent, 1), number(one.best_percent, 1), number(one.sd_percent, 1))
            for one in results.summary
        ],
    )
    yield table
    yield Prose(
        "Mean: over tasks, of the means over seeds. Best: over tasks, of each task's best seed. The standard deviation "
        "is that of the mean over tasks, between seeds; one seed has none."
    )
    yield score_chart(results)


def _differences(results: Results) -> Iterator[Block]:
    if not results.differences:
        yield Prose("No differences are recorded: learned weights were not among the methods, or alone.")
        return
    names = method_labels(results)
    for method in dict.fromkeys(one.method for one in results.differences):
        yield difference_chart(
            results, method, [(one.against, one) for one in results.differences if one.method == method]
        )
    yield Table(
        "Differences in percentage points, with 95 % intervals",
        ("learned weights", "against", "points", "95 % interval", "says", "better on", "worse on", "cannot tell on"),
        [
            (
                names[one.method], names[one.against], signed(one.points, 1), interval(one.low, one.high, 1), one.says,
                *(str(sum(task.says == says for task in one.tasks)) for says in SAYS),
            )
            for one in results.differences
        ],
        texts=2,
    )  # fmt: skip
    yield Prose(
        "A difference counts where its interval lies on one side of zero. Intervals are from resampling tasks, and the "
        "inputs within them."
    )


def _tasks(results: Results) -> Iterator[Block]:
    names = method_labels(results)
    yield Table(
        "Mean score of each method by task, in percent",
        ("task", *names.values()),
        [_means(task, names) for task in results.tasks],
    )
    yield Prose(
        "Scores: small marks are seeds, the large one their mean, the line one standard deviation to each side. "
        "Differences: the point is what learned weights have more, the line its 95 % interval. Intervals of single "
        "tasks are not corrected for how many there are: one of twenty is off by chance."
    )
    if len(results.tasks) > _MOST_TASKS:
        yield Points((f"Charts are of the first {_MOST_TASKS} of {len(results.tasks)} tasks.",), "note")
    for task in results.tasks[:_MOST_TASKS]:
        blocks: list[Block] = [task_chart(task, names, _score_table(task, names))]
        for method in dict.fromkeys(one.method for one in results.differences):
            rows = [
                (one.against, part)
                for one in results.differences
                for part in one.tasks
                if one.method == method and part.task == task.name
            ]
            if rows:
                blocks.append(difference_chart(results, method, rows, task.name))
        if figure := trace_chart(task, names):
            blocks.append(figure)
        yield Group(f"{task.name} ({count(task.inputs, 'input')})", blocks)


def _means(task: ComparedTask, names: Mapping[str, str]) -> tuple[str, ...]:
    means = {one.method: one.mean_percent for one in task.results}
    return (task.name, *(number(means.get(method), 1) for method in names))


def _score_table(task: ComparedTask, names: Mapping[str, str]) -> Table:
    return Table(
        f"Scores on {task.name}, in percent",
        ("method", "mean", "best", "sd", "by seed"),
        [
            (
                names[one.method], number(one.mean_percent, 1), number(one.best_percent, 1), number(one.sd_percent, 1),
                " ".join(number(cell.score_percent, 1) for cell in one.cells),
            )
            for one in task.results
        ],
    )  # fmt: skip


def _modules(results: Results) -> Iterator[Block]:
    learned = [method for method in results.methods if method.kind == "learned"]
    found = [block for method in learned for block in module_map(results, method)]
    yield from found
    if not found:
        yield Prose("No learned weights are recorded.")
    singles = [
        (task.name, *(cell.best_single or NONE for cell in one.cells))
        for task in results.tasks
        for one in task.results
        if any(cell.best_single for cell in one.cells) and _kind(results, one) == "best-single"
    ]
    if singles:
        yield Table(
            "The best single module on the examples, by seed",
            ("task", *(f"seed {seed}" for seed in results.seeds)),
            singles,
            texts=ALL,
        )


def _kind(results: Results, result: TaskResult) -> str:
    return next(method.kind for method in results.methods if method.id == result.method)


def _cost(results: Results) -> Iterator[Block]:
    names = method_labels(results)
    if results.summary:
        yield Table(
            "What each method costs",
            ("method", "tokens read, an answer", "learning, s a task and seed", "answering, ms an answer"),
            [
                (
                    names[one.method], number(one.input_tokens_per_answer, 0), number(one.learn_seconds, 2),
                    number(1000 * one.answer_seconds, 1),
                )
                for one in results.summary
            ],
        )  # fmt: skip
    machines: dict[tuple[str, str, int], int] = {}
    shortened: dict[str, int] = {}
    for task in results.tasks:
        for one in task.results:
            for cell in one.cells:
                machine = (cell.machine.processor, cell.machine.system, cell.machine.threads)
                machines[machine] = machines.get(machine, 0) + 1
                shortened[one.method] = shortened.get(one.method, 0) + cell.shortened
    yield Table(
        "Where the cells were measured",
        ("processor", "system", "threads", "cells"),
        [(processor, system, str(threads), str(cells)) for (processor, system, threads), cells in machines.items()],
        texts=2,
    )
    cut = [
        f"{names[method]}: {number} prompts had no room for all examples."
        for method, number in shortened.items()
        if number
    ]
    if cut:
        yield Points(cut, "note")


def _settings(results: Results, settings: Mapping[str, Any]) -> Iterator[Block]:
    yield Facts([(name.replace("_", " "), _value(value)) for name, value in settings.items()])
    yield Table(
        "Methods",
        ("id", "label", "optimizer", "surrogate", "composition", "budget"),
        [
            (
                one.id,
                one.label,
                one.optimizer or NONE,
                _SURROGATE[one.surrogate] if one.optimizer else NONE,
                one.composition or NONE,
                NONE if one.budget is None else str(one.budget),
            )
            for one in results.methods
        ],
        texts=ALL,
    )


def _value(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(map(_value, value)) or NONE
    return NONE if value is None else json.dumps(value, ensure_ascii=False)


def _origin(results: Results) -> Iterator[Block]:
    bundle, metric = results.bundle, results.metric
    yield Facts(
        (
            ("base model", bundle.base_model),
            ("bundle's manifest, SHA-256", bundle.sha256),
            ("metric", metric.name if metric.sha256 is None else f"{metric.name}, SHA-256 {metric.sha256}"),
            ("seeds", ", ".join(map(str, results.seeds))),
            *results.versions.items(),
        )
    )
    if results.modules:
        rows = [(module.name, module.sha256) for module in results.modules]
        yield Table("Modules, by digest", ("name", "SHA-256"), rows, texts=ALL, folded=True)
    if results.module_draws:
        drawn = [(f"seed {seed}", ", ".join(names)) for seed, names in results.module_draws.items()]
        yield Table("Modules that each seed drew", ("seed", "modules"), drawn, texts=ALL, folded=True)
    cells = [
        (f"{task.name}, seed {cell.seed}", one.method, cell.cell)
        for task in results.tasks
        for one in task.results
        for cell in one.cells
    ]
    front = "" if len(cells) <= _MOST_CELLS else f", the first {_MOST_CELLS:,} of {len(cells):,}"
    yield Table(
        f"Cells, by digest{front}", ("task and seed", "method", "cell"), cells[:_MOST_CELLS], texts=ALL, folded=True
    )

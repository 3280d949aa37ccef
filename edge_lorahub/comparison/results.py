"""results.json: a comparison for programs. docs/reference/comparison.md describes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .bootstrap import Interval
from .compared_methods import Method
from .markdown_table import cost
from .measured import Difference, Measured, Spread
from .plan import Plan

NAME, FORMAT = "edge-lorahub comparison", 1


def results(
    plan: Plan, found: Measured, differences: Sequence[Difference], verdicts: Sequence[str], notes: Sequence[str],
    warnings: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    """The file's contents."""
    return {
        "name": NAME,
        "format": FORMAT,
        "settings": plan.record,
        "versions": dict(plan.versions),
        "bundle": {
            "path": str(plan.bundle.folder),
            "sha256": plan.bundle_sha256,
            "base_model": plan.bundle.manifest.model.base_model,
            "precision": plan.bundle.manifest.precision,
            "random_weights": plan.random_weights,
        },
        "metric": {"name": plan.metric.name, "sha256": plan.metric.sha256},
        "seeds": list(plan.seeds),
        "modules": [{"name": module.name, "sha256": module.sha256} for module in plan.modules],
        "module_draws": {str(seed): [module.name for module in drawn] for seed, drawn in plan.drawn.items()},
        "methods": [_method(method) for method in plan.methods],
        "tasks": [
            {
                "name": task.name,
                "path": str(task.path),
                "inputs": len(task.inputs),
                "results": [_of_task(found, task.name, method) for method in plan.methods],
            }
            for task in plan.tasks
        ],
        "summary": [_summary(found, method) for method in plan.methods],
        "differences": [
            {
                "method": one.method.id,
                "against": one.against.id,
                **_interval(one.whole),
                "tasks": [{"task": task, **_interval(interval)} for task, interval in one.tasks.items()],
            }
            for one in differences
        ],
        "verdicts": list(verdicts),
        "notes": list(notes),
        "warnings": list(warnings),
    }


def _method(method: Method) -> dict[str, Any]:
    return {
        "id": method.id,
        "label": method.label,
        "kind": method.kind,
        "optimizer": method.optimizer,
        "composition": method.composition,
        "budget": method.budget,
        "surrogate": method.surrogate,
    }


def _of_task(found: Measured, task: str, method: Method) -> dict[str, Any]:
    cells = [_cell(found, task, method, seed) for seed in found.seeds]
    return {"method": method.id, **_spread(found.of_task(task, method)), "cells": cells}


def _cell(found: Measured, task: str, method: Method, seed: int) -> dict[str, Any]:
    cell, result = found.results[task, method.id, seed]
    scores = found.scores(task, method, seed)
    weights: Mapping[str, float] | None = result.weights
    return {
        "seed": seed,
        "cell": cell.digest,
        "score_percent": 100 * sum(scores) / len(scores),
        "inputs": len(scores),
        "scores": scores,
        "weights": None if weights is None else dict(weights),
        "trace": None if result.trace is None else list(result.trace),
        "best_single": result.best_single,
        "input_tokens": result.input_tokens,
        "shortened": result.shortened,
        "seconds": {"learn": result.seconds.learn, "answer": result.seconds.answer},
        "machine": {
            "processor": result.machine.processor,
            "system": result.machine.system,
            "threads": result.machine.threads,
        },
    }


def _summary(found: Measured, method: Method) -> dict[str, Any]:
    tokens, learn, answer = cost(found, method)
    return {
        "method": method.id,
        **_spread(found.of_method(method)),
        "input_tokens_per_answer": tokens,
        "learn_seconds": learn,
        "answer_seconds": answer,
    }


def _spread(one: Spread) -> dict[str, float | None]:
    return {"mean_percent": one.mean, "best_percent": one.best, "sd_percent": one.sd}


def _interval(one: Interval) -> dict[str, Any]:
    return {"points": one.points, "low": one.low, "high": one.high, "says": one.says}

"""A comparison's results.json, made by hand in the form of docs/reference/comparison.md: no model ran for it."""

from __future__ import annotations

import random
from statistics import mean, stdev
from typing import Any

METHODS = {
    "zero-shot": ("plain model", None),
    "few-shot": ("prompted with the examples", None),
    "best-single": ("best single module", None),
    "uniform": ("uniform weights", None),
    "learned:cma": ("learned weights", "cma"),
    "random:cma": ("random modules", "cma"),
}
LEVELS = dict(zip(METHODS, (0.1, 0.35, 0.3, 0.2, 0.7, 0.15), strict=True))


def digest(number: int) -> str:
    return f"{number:064x}"


def results(tasks: int = 12, seeds: int = 5, inputs: int = 100, modules: int = 20) -> dict[str, Any]:
    """Of the paper's size by default."""
    rng = random.Random(1)
    names = [f"module-{number}" for number in range(modules)]
    numbers = list(range(1, seeds + 1))
    made = [_task(rng, f"task_{place}", numbers, inputs, names) for place in range(tasks)]
    return {
        "name": "edge-lorahub comparison",
        "format": 1,
        "settings": {
            "examples": 5, "limit": inputs, "count": modules, "budget": 40, "optimizers": ["cma"],
            "composition": "exact", "threads": 1, "max_input_tokens": 2048,
            "max_new_tokens": None, "batch_size": 16, "metric": "exact",
            "prompt": None,
        },
        "versions": {"edge-lorahub": "0.2.0", "onnxruntime": "1.32.0", "numpy": "2.4.6"},
        "bundle": {
            "path": "bundle", "sha256": digest(1), "base_model": "edge-lorahub/tiny-t5", "precision": "fp32",
            "random_weights": False,
        },
        "metric": {"name": "exact", "sha256": None},
        "seeds": numbers,
        "modules": [{"name": name, "sha256": digest(place)} for place, name in enumerate(names)],
        "module_draws": {str(seed): names for seed in numbers},
        "methods": [
            {
                "id": method, "label": label, "kind": method.partition(":")[0], "optimizer": optimizer,
                "composition": None if method.endswith("shot") else "exact", "budget": 40 if optimizer else None,
                "surrogate": None,
            }
            for method, (label, optimizer) in METHODS.items()
        ],
        "tasks": made,
        "summary": [_summary(method, made) for method in METHODS],
        "differences": [_difference(rng, method, made) for method in METHODS if method != "learned:cma"],
        "verdicts": ["learned weights are better than the plain model by 60.0 points, 95 % interval 50.0 to 70.0"],
        "notes": ["12 tasks are few: another dozen may give other differences"],
        "warnings": ["2 of 100 outputs have more than 64 tokens and can never match"],
    }  # fmt: skip


def _task(rng: random.Random, name: str, seeds: list[int], inputs: int, modules: list[str]) -> dict[str, Any]:
    hard = rng.uniform(0.4, 1.3)
    strong = set(rng.sample(modules, min(3, len(modules))))
    found = []
    for method in METHODS:
        cells = [_cell(rng, method, seed, inputs, modules, strong, min(1.0, hard * LEVELS[method])) for seed in seeds]
        scores = [cell["score_percent"] for cell in cells]
        sd = stdev(scores) if len(scores) > 1 else None
        found.append(
            {
                "method": method,
                "mean_percent": mean(scores),
                "best_percent": max(scores),
                "sd_percent": sd,
                "cells": cells,
            }
        )
    return {"name": name, "path": f"data/{name}.json", "inputs": inputs, "results": found}


def _cell(
    rng: random.Random, method: str, seed: int, inputs: int, modules: list[str], strong: set[str], share: float
) -> dict[str, Any]:
    scores = [float(rng.random() < share) for _ in range(inputs)]
    losses = [2.0]
    for _ in range(39):
        losses.append(losses[-1] * rng.choice((1, 1, 0.9)))
    searched = ":" in method
    weights = {name: rng.gauss(0.7, 0.2) if name in strong else rng.gauss(0, 0.1) for name in modules}
    return {
        "seed": seed, "cell": digest(rng.getrandbits(200)), "score_percent": 100 * mean(scores), "inputs": inputs,
        "scores": scores, "weights": weights if method == "learned:cma" else None,
        "trace": losses if searched else None,
        "best_single": modules[0] if method == "best-single" else None, "input_tokens": 70 * inputs,
        "shortened": 3 if method == "few-shot" else 0, "seconds": {"learn": 1.5, "answer": 2.5},
        "machine": {"processor": "AMD EPYC", "system": "Linux 6.1", "threads": 1},
    }  # fmt: skip


def _summary(method: str, tasks: list[dict[str, Any]]) -> dict[str, Any]:
    ours = [one for task in tasks for one in task["results"] if one["method"] == method]
    by_seed = [
        mean(values) for values in zip(*([c["score_percent"] for c in one["cells"]] for one in ours), strict=True)
    ]
    return {
        "method": method, "mean_percent": mean(one["mean_percent"] for one in ours),
        "best_percent": mean(one["best_percent"] for one in ours),
        "sd_percent": stdev(by_seed) if len(by_seed) > 1 else None, "input_tokens_per_answer": 70.0,
        "learn_seconds": 1.5, "answer_seconds": 0.025,
    }  # fmt: skip


def _difference(rng: random.Random, against: str, tasks: list[dict[str, Any]]) -> dict[str, Any]:
    parts = []
    for task in tasks:
        means = {one["method"]: one["mean_percent"] for one in task["results"]}
        points, half = means["learned:cma"] - means[against], rng.uniform(3, 25)
        parts.append({"task": task["name"], **_interval(points, half)})
    return {
        "method": "learned:cma", "against": against, "tasks": parts,
        **_interval(mean(part["points"] for part in parts), 8),
    }  # fmt: skip


def _interval(points: float, half: float) -> dict[str, Any]:
    low, high = points - half, points + half
    return {
        "points": points, "low": low, "high": high,
        "says": "better" if low > 0 else "worse" if high < 0 else "not distinguishable",
    }  # fmt: skip

"""How much memory an adaptation takes, and how to stay below a limit: fewer workers, smaller batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from ..bundle.manifest import WEIGHTS
from ..bundle.prompt import Prompt
from ..composition.inputs import LoraSource, used_slots
from ..composition.stack import lora_type_for, stack_sizes
from ..errors import SettingsError
from ..examples.example import Example
from ..label_logits import KEPT_TOKENS
from ..runtime.architecture import Lengths
from ..runtime.opened import OpenBundle
from ..runtime.tokens import buckets
from ..search.budget import budget_for
from ..search.choose import at_once
from ..search.compaction import TOKENS
from ..search.settings import CMA
from .preparation import SPARSE
from .settings import Settings

_FLOAT = 4
# Python, NumPy, ONNX Runtime, the tokenizer and the graphs, before anything is loaded.
_PROCESS = 110_000_000
_NEVERGRAD = 150_000_000
# What a candidate's inputs of a slot are to Python and ONNX Runtime, beside their numbers.
_SLOT = 2000
# What is kept of an evaluation's logits at one label position.
_POSITION = 16 * KEPT_TOKENS + 24 * TOKENS
# What the estimate is multiplied with, by measurement (docs/decisions/008-batches-of-768-tokens.md).
_MARGIN = 1.13
# What smaller batches and fewer workers cost, by measurement (the same): a share of a candidate's time.
_ANOTHER_BATCH = 0.08
_FEWER_WORKERS = 0.2


@dataclass(frozen=True)
class Plan:
    """Candidates at once, the most tokens of a batch, how many batches that makes, and the estimate in bytes."""

    workers: int
    batch_tokens: int
    batches: int
    bytes: int


def plan(
    bundle: OpenBundle,
    modules: Sequence[LoraSource],
    examples: Sequence[Example],
    settings: Settings,
    workers: int,
    limit: int,
    prompt: Prompt | None = None,
) -> Plan:
    """The fastest way to adapt in at most `limit` bytes, with at most so many workers; prompt: as for the search.

    An estimate, meant to be above what is taken. Raises SettingsError if nothing fits.
    """
    manifest = bundle.manifest
    lengths = bundle.encode(examples, settings.max_input_tokens, settings.max_output_tokens, prompt).lengths
    longest, whole = max(map(sum, lengths)), sum(map(sum, lengths))
    caps = [settings.batch_tokens]
    while caps[-1] > longest:
        caps.append(max(longest, min(caps[-1], whole) * 2 // 3))
    process = _PROCESS + (0 if settings.optimizer == CMA else _NEVERGRAD)
    weights = (bundle.folder / WEIGHTS).stat().st_size
    # the modules' own matrices are joined when the model is gone
    adapter = stack_sizes(modules, manifest, "exact", "float32")[0] if settings.chosen_composition == "exact" else 0
    plans = []
    for count, cap in product(range(workers, 0, -1), caps):
        groups = [[lengths[i] for i in group] for group in buckets(list(map(sum, lengths)), batch_tokens=cap)]
        searching = weights + _changing(bundle, modules, settings, groups, count)
        size = int(_MARGIN * (process + max(searching, adapter)))
        plans.append(Plan(count, cap, len(groups), size))
    fewest = min(found.batches for found in plans)

    def cost(found: Plan) -> float:
        return (1 + _ANOTHER_BATCH * (found.batches - fewest)) * (1 + _FEWER_WORKERS * (found.workers < workers))

    fitting = [found for found in plans if found.bytes <= limit]
    if not fitting:
        least = min(found.bytes for found in plans)
        smaller = "" if manifest.precision == "int8" else "a bundle in int8, "
        raise SettingsError(
            f"a memory limit of {_megabytes(limit)} is too low: this adaptation takes about {_megabytes(least)} at "
            f"least; use {smaller}fewer modules, or shorter inputs"
        )
    return min(fitting, key=cost)


def _changing(
    bundle: OpenBundle,
    modules: Sequence[LoraSource],
    settings: Settings,
    batches: Sequence[Lengths],
    workers: int,
) -> int:
    """The bytes that come after loading."""
    manifest, architecture = bundle.manifest, bundle.architecture
    lora_type = lora_type_for(manifest, settings.chosen_composition)
    stack, row = stack_sizes(modules, manifest, settings.chosen_composition, lora_type)
    short = architecture.short_is_faster(manifest, batches)
    scoring = workers * architecture.footprint(manifest, batches, short=short)
    candidate = _FLOAT * row + _SLOT * len(used_slots(modules, manifest.slots))
    if settings.assisted:
        positions = sum(label for batch in batches for _, label in batch)
        budget = budget_for(settings, len(modules)).candidates
        # a candidate of few modules has a copy of theirs, and what was seen of every candidate's logits is kept
        # and the surrogate's derivatives by each module, with what they are made of
        seen = positions * (budget * _POSITION + 24 * (TOKENS + 1) * len(modules))
        return stack + int(SPARSE * stack) + seen + scoring
    return stack + at_once(settings) * candidate + scoring


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"

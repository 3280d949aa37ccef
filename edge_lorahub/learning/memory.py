"""How much memory an adaptation takes, and how to stay below a limit: fewer workers, smaller batches."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from ..bundle.manifest import PARTS, TOKENIZER, WEIGHTS, Manifest, ModelConfig, Slot, read_manifest
from ..composition.inputs import LoraSource
from ..composition.stack import stack_sizes
from ..errors import EdgeLorahubWarning, SettingsError
from ..examples.example import Example
from ..label_logits import KEPT_TOKENS
from ..runtime.scoring import absorbing_is_faster
from ..runtime.tokens import Tokens, buckets
from ..search.budget import budget_for
from ..search.choose import at_once
from ..search.compaction import TOKENS
from ..search.settings import CMA
from .objective import SPARSE
from .settings import Settings

_FLOAT = 4
# Python, NumPy, ONNX Runtime, the tokenizer and the graphs, before anything is loaded.
_PROCESS = 110_000_000
_NEVERGRAD = 150_000_000
# What ONNX Runtime holds of a token while it runs, in numbers of the model's width: the residual, its norm, the
# queries, keys and values twice, and three of the feed-forward's layers, each at most 4 wide.
_ACTIVATIONS = 20
# What a candidate's inputs of a slot are to Python and ONNX Runtime, beside their numbers.
_SLOT = 2000
# What is kept of an evaluation's logits at one label position.
_POSITION = 16 * KEPT_TOKENS + 24 * TOKENS
# Estimates without it were 0.90 to 1.03 of what was taken (docs/design.md).
_MARGIN = 1.13
# What smaller batches and fewer workers cost, by measurement (docs/design.md): a share of a candidate's time.
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
    bundle: Path,
    modules: Sequence[LoraSource],
    examples: Sequence[Example],
    settings: Settings,
    workers: int,
    limit: int,
) -> Plan:
    """The fastest way to adapt in at most `limit` bytes, with at most so many workers.

    An estimate, meant to be above what is taken. Raises SettingsError if nothing fits.
    """
    manifest = read_manifest(bundle)
    tokens = Tokens(bundle / TOKENIZER, manifest.model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeLorahubWarning)  # of texts that are cut; they come again
        sources = tokens.encode([e.input for e in examples], settings.max_input_tokens)
        labels = tokens.encode([e.output for e in examples], settings.max_output_tokens)
    pairs = [(len(source), len(label)) for source, label in zip(sources, labels, strict=True)]
    longest, whole = max(map(sum, pairs)), sum(map(sum, pairs))
    caps = [settings.batch_tokens]
    while caps[-1] > longest:
        caps.append(max(longest, min(caps[-1], whole) * 2 // 3))
    process = _PROCESS + (0 if settings.optimizer == CMA else _NEVERGRAD)
    weights = (bundle / WEIGHTS).stat().st_size
    # the modules' own matrices are joined when the model is gone
    adapter = stack_sizes(modules, manifest, "exact", "float32")[0] if settings.chosen_composition == "exact" else 0
    plans = []
    for count, cap in product(range(workers, 0, -1), caps):
        groups = [[pairs[i] for i in group] for group in buckets(list(map(sum, pairs)), batch_tokens=cap)]
        searching = weights + _changing(manifest, modules, settings, groups, count)
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
    manifest: Manifest,
    modules: Sequence[LoraSource],
    settings: Settings,
    groups: Sequence[Sequence[tuple[int, int]]],
    workers: int,
) -> int:
    """The bytes that come after loading. groups: for each batch the (input, output) tokens of its examples."""
    model, slots = manifest.model, manifest.slots
    form = manifest.adapting_form(settings.chosen_composition)
    stack, row = stack_sizes(modules, manifest, settings.chosen_composition, form)
    width = max(map(_model_width, slots))
    shapes = [(len(group), *map(max, zip(*group, strict=True))) for group in groups]
    absorbed = absorbing_is_faster(manifest, [(count * source, label) for count, source, label in shapes])
    kept = arena = 0
    for count, longest, label in shapes:
        source, labels = count * longest, count * label
        encoded = source * width if absorbed else _keys_and_values(model, source)
        scores = 2 * model.heads * (source + labels) * (longest + label)
        kept = max(kept, encoded + labels * model.vocab_size)
        arena = max(arena, _keys_and_values(model, labels) + scores + _ACTIVATIONS * width * max(source, labels))
    candidate = _FLOAT * row + _SLOT * len(slots)
    if settings.assisted:
        positions = sum(count * label for count, _, label in shapes)
        budget = budget_for(settings, len(modules)).candidates
        # a candidate of few modules has a copy of theirs, and what was seen of every candidate's logits is kept
        # and the surrogate's derivatives by each module, with what they are made of
        seen = int(positions) * (budget * _POSITION + 24 * (TOKENS + 1) * len(modules))
        return stack + int(SPARSE * stack) + seen + _FLOAT * workers * (kept + arena)
    return stack + at_once(settings) * candidate + _FLOAT * workers * (kept + arena)


def _keys_and_values(model: ModelConfig, tokens: int) -> int:
    """How many numbers the keys and values of so many tokens are, in all layers of the decoder."""
    return len(PARTS) * model.decoder_layers * tokens * model.heads * model.head_size


def _model_width(slot: Slot) -> int:
    return slot.d_out if slot.kind in ("o", "wo") else slot.d_in


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"

"""How far an int8 bundle keeps what the optimizer reads: the losses of candidates, and above all their order."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_lorahub.bundle.manifest import WEIGHTS, Slot
from edge_lorahub.composition.adapter import Adapter
from edge_lorahub.composition.inputs import LoraSource
from edge_lorahub.composition.stack import lora_type_for, make_stack
from edge_lorahub.errors import EdgeLorahubWarning, OutputFailedError
from edge_lorahub.examples.example import Example
from edge_lorahub.files.outputs import scratch_folder
from edge_lorahub.lora.modules import Modules
from edge_lorahub.lora.pair import Lora
from edge_lorahub.runtime.binding import Runner
from edge_lorahub.runtime.scoring import Batches, Scorer
from edge_lorahub.runtime.session import Model, load

from ..bundle_writer import export

Float64 = NDArray[np.float64]

# Below this rank correlation the order of candidates is not what it is in float32.
LEAST_CORRELATION = 0.95
_MODULES = 8
_RANK = 8
# The norm of a random module's product, as a share of its layer's: of the size of trained modules.
_SHARE = 0.1
_LENGTHS = (60, 45, 30, 20, 12)
_ANSWER = 4
_BOUND = 1.5
_MOST_TOKENS = 2048


@dataclass(frozen=True)
class Agreement:
    """losses float64 (2, C), of the float32 bundle and of the other, on the same C candidates."""

    losses: Float64

    @property
    def differences(self) -> Float64:
        """|difference| of the losses, in nats, (C,)."""
        difference: Float64 = np.abs(self.losses[0] - self.losses[1])
        return difference

    @property
    def rank_correlation(self) -> float:
        """Spearman's, of the candidates' order: 1 is the same order."""
        ranks = self.losses.argsort(axis=1).argsort(axis=1)
        # spelled out: numpy types corrcoef as a number or a matrix
        first, second = ranks - ranks.mean(axis=1, keepdims=True)
        return float(first @ second / np.sqrt((first @ first) * (second @ second)))

    def __str__(self) -> str:
        return (
            f"the losses of {self.losses.shape[1]} candidates differ by {self.differences.mean():.4f} on average and "
            f"{self.differences.max():.4f} at most, of {self.losses[0].min():.3f} to {self.losses[0].max():.3f}; "
            f"rank correlation {self.rank_correlation:.3f}"
        )


def compare(
    float32: Model, other: Model, sources: Sequence[LoraSource] = (), examples: Sequence[Example] = ()
) -> Agreement:
    """Evaluates w = 0, every module alone and twice as many random w, in exact composition, with both bundles.

    Without sources or examples, seeded random modules and texts stand in: enough to find a quantization that
    does harm, while modules and examples of one's own say what it does to them.
    """
    sources = list(sources) or [_RandomModule(float32, seed) for seed in range(_MODULES)]
    examples = examples or _random_examples(float32)
    candidates = candidates_for(len(sources))
    return Agreement(np.array([_losses(model, sources, examples, candidates) for model in (float32, other)]))


def check_export(
    source: str | Path,
    bundle: Path,
    modules: Modules | None = None,
    examples: Sequence[Example] = (),
    *,
    adapter: Adapter | None = None,
    revision: str | None = None,
) -> Agreement:
    """Compares a bundle with an fp32 export of the same source and slots, made beside it and removed again.

    adapter: what was added to the weights of both.

    Raises what `export` raises, and ModuleMismatchError if a module does not fit. OutputFailedError: there is no room
    for the fp32 bundle, and the other one is complete.
    """
    quantized = load(bundle)
    examples = examples or _random_examples(quantized)
    if modules is not None:
        modules.check(quantized.manifest)
    try:
        with scratch_folder(bundle) as folder:
            float32 = folder / "bundle"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", EdgeLorahubWarning)  # the first export gave them
                manifest = quantized.manifest
                export(
                    source, float32, slots=manifest.kinds(), prompt=manifest.prompt, adapter=adapter, revision=revision
                )
            return compare(load(float32), quantized, modules or (), examples)
    except OutputFailedError as error:
        raise OutputFailedError(
            f"{bundle}: exported, but an fp32 bundle to compare it with could not be written beside it; free some "
            "space there to have the comparison (`export --no-check` leaves it out)"
        ) from error


def candidates_for(count: int) -> Float64:
    """The fixed candidates for a number of modules N: float64 (1 + 3 N, N), w = 0 first, then the one-hots."""
    random = np.random.default_rng(0).uniform(-_BOUND, _BOUND, (2 * count, count))
    return np.concatenate([np.zeros((1, count)), np.eye(count), random])


def _losses(
    model: Model, sources: Sequence[LoraSource], examples: Sequence[Example], candidates: Float64
) -> list[float]:
    # the graphs that `adapt` uses; candidates come one after the other here, each on all threads
    inputs = make_stack(sources, model.manifest, "exact", lora_type_for(model.manifest, "exact")).inputs()
    task = model.bundle.encode(examples, _MOST_TOKENS, _MOST_TOKENS)
    batches = Batches(model.bundle, task)
    scorer = Scorer(Runner(model, "score", inputs, short=batches.short), batches)
    losses = []
    for weights in candidates:
        inputs.compose(weights)
        losses.append(float(scorer.losses().means().mean()))
    return losses


def _random_examples(model: Model) -> list[Example]:
    """Texts of random tokens, of several lengths, as far as the model has positions."""
    rng = np.random.default_rng(0)
    config = model.manifest.model
    most = config.longest_input or max(_LENGTHS)
    if config.longest_text is not None:
        # half of what is left beside the prompt: read again, a text may have more tokens than it was made of
        most = min(most, (config.longest_text - len(model.bundle.sources(["a"], _MOST_TOKENS)[0]) - _ANSWER) // 2)

    def texts(lengths: Iterable[int]) -> list[str]:
        return model.tokens.decode([rng.integers(3, config.vocab_size, max(1, min(n, most))) for n in lengths])

    pairs = zip(texts(_LENGTHS), texts([_ANSWER] * len(_LENGTHS)), strict=True)
    return [Example(source, target) for source, target in pairs]


class _RandomModule:
    """A module with random matrices in every slot, scaled to the layers of a float32 bundle."""

    def __init__(self, model: Model, seed: int) -> None:
        self.name = f"random-{seed}"
        self._weights: Path = model.folder / WEIGHTS
        self._slots = model.manifest.slots
        self._seed = seed

    @property
    def shapes(self) -> Mapping[str, tuple[int, int, int]]:
        return {slot.name: (_RANK, slot.d_in, slot.d_out) for slot in self._slots}

    def loras(self) -> Iterable[tuple[str, Lora]]:
        rng = np.random.default_rng(self._seed)
        for slot in self._slots:
            a = rng.standard_normal((_RANK, slot.d_in), dtype=np.float32)
            b = rng.standard_normal((slot.d_out, _RANK), dtype=np.float32)
            norm = np.linalg.norm(_matrix(self._weights, slot))
            yield slot.name, Lora(a, b, float(_SHARE * norm / np.linalg.norm(b @ a)))


def _matrix(weights: Path, slot: Slot) -> NDArray[np.float32]:
    return np.memmap(weights, np.float32, "r", offset=slot.weight_offset, shape=(slot.d_in, slot.d_out))

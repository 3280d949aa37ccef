"""Which evaluations of an earlier search a new one takes, and which of its own it keeps for the next."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bundle.graphs import Variant
from ..bundle.manifest import Manifest
from ..composition.record import SearchInputs
from ..errors import warn
from ..label_logits import KEPT_TOKENS, LabelLogits
from ..runtime.scoring import Batches
from ..search.evaluations import LARGEST, Evaluations
from ..search.strategy import Observation

Float64 = NDArray[np.float64]

# What an origin may differ in, and what that means; what decides most is first.
_DIFFERENCES = {
    "precision": "they are in {there}, and the bundle is in {here}",
    "bundle": "they are of another bundle",
    "composition": "they are of {there} composition, and this is {here}",
    "modules": "they are of other modules, or of these in another order",
    "graphs": "they were computed with other graphs ({there}; here {here}), which the objective "
    "and the outputs' lengths decide",
    "tokens": "they keep {there} tokens a position, and this program {here}",
}
_NOT_USED = "the earlier search's evaluations are not used, and everything is evaluated anew"
# How far the loss of an example may be from what it was, in parts of it or of 1: other threads, processors or batches
# change last digits, and in int8 more than these.
_TOLERANCE = {"fp32": 1e-4, "int8": 2e-2}


def origin_of(inputs: SearchInputs, manifest: Manifest) -> dict[str, str]:
    """What a search's evaluations are of, besides the examples."""
    modules = " ".join(module.sha256 for module in inputs.modules)
    return {
        "precision": manifest.precision,
        "bundle": inputs.bundle_sha256,
        "composition": inputs.settings.composition,
        "modules": hashlib.sha256(modules.encode()).hexdigest(),
        "graphs": str(Variant(inputs.lora_type, inputs.short)),
        "tokens": str(min(KEPT_TOKENS, manifest.model.vocab_size)),
    }


def usable(earlier: Evaluations, origin: Mapping[str, str]) -> bool:
    """Whether evaluations are of the same model, modules and composition; warns where they are not, and says why."""
    for name, words in _DIFFERENCES.items():
        there, here = earlier.origin.get(name), origin[name]
        if there != here:
            why = words.format(there=f"{there!s:.60}", here=here)
            warn(f"{_NOT_USED}: {why}")
            return False
    return True


class Known:
    """What an earlier search has seen of the examples that a new one has too."""

    def __init__(self, earlier: Evaluations, batches: Batches, precision: str, center: Float64 | None) -> None:
        """batches: of the new search, arranged by `earlier.parts`. center: the weights that it begins with, (N,).

        In int8 a last bit of a text's sums may go another way beside other texts where LoRA is in float32, so there a
        batch counts only if it has the same examples as it had.
        """
        self._earlier = earlier
        self._rows = {key_of(weights): row for row, weights in enumerate(earlier.weights)}
        zero = np.zeros(earlier.weights.shape[1])
        self._witnesses = {key_of(zero), key_of(zero if center is None else center)}
        self._tolerance = _TOLERANCE[precision]
        there = {digest: place for place, digest in enumerate(earlier.examples)}
        counts = dict(zip(batches.digests, batches.tokens, strict=True))
        there = {digest: place for digest, place in there.items() if earlier.counts[place] == counts.get(digest)}
        alike = {tuple(earlier.examples[place] for place in batch) for batch in earlier.batches}
        self._places: dict[int, int] = {}
        # the batches that a known candidate still has to run
        self.left: list[int] = []
        for index, batch in enumerate(batches.batches):
            digests = tuple(batches.digests[example] for example in batch.members)
            if all(digest in there for digest in digests) and (precision == "fp32" or digests in alike):
                self._places |= {e: there[digest] for e, digest in zip(batch.members, digests, strict=True)}
            else:
                self.left.append(index)
        if not self._places and center is None:  # who begins with weights has taken what there was to take
            why = (
                "in int8 a batch counts with all of its examples alone, and none is as it was"
                if there
                else "it has seen none of these examples as the model reads them here; another prompt, other texts and "
                "other limits of tokens make other examples"
            )
            warn(f"{_NOT_USED}: {why}")

    @property
    def examples(self) -> int:
        """How many of the new search's examples are known."""
        return len(self._places)

    def has(self, weights: Float64) -> bool:
        """Whether a candidate (N,) was evaluated, and is not evaluated again to compare.

        The plain model and the weights that the search begins with are: they show that the same comes out here.
        """
        key = key_of(weights)
        return key in self._rows and key not in self._witnesses

    def seen(self, weights: Float64) -> Iterable[tuple[int, float, LabelLogits]]:
        """Of a candidate that it has: by example here, the mean token cross-entropy and the label logits."""
        row = self._rows[key_of(weights)]
        for example, place in self._places.items():
            yield example, float(self._earlier.losses[row, place]), self._earlier.label_logits(row, place)

    def contradicted(self, observation: Observation) -> bool:
        """Whether an evaluation shows another loss than is known; warns if so."""
        row = self._rows.get(key_of(observation.weights))
        if row is None or observation.losses is None:
            return False
        for example, place in self._places.items():
            known, found = float(self._earlier.losses[row, place]), float(observation.losses[example])
            if not abs(found - known) <= self._tolerance * max(1.0, abs(known)):
                warn(
                    f"{_NOT_USED}: example {example + 1} has a loss of {found:.6g} here, and had {known:.6g} for the "
                    "same weights; another processor or onnxruntime may compute otherwise"
                )
                return True
        return False


class Collected:
    """The observations of a search that another one would ask for: w = 0, the modules alone, and the best."""

    def __init__(self, counts: Float64, vocabulary: int) -> None:
        """counts (E,): the label tokens of each example; vocabulary: of the model."""
        self._counts = counts.astype(np.int64)
        self._kind = np.uint16 if vocabulary <= 1 << 16 else np.uint32
        self._kept: dict[bytes, tuple[Observation, NDArray[Any]]] = {}
        self._best: tuple[Observation, NDArray[Any]] | None = None
        self._size = 0

    def add(self, observation: Observation) -> None:
        logits, losses = observation.logits, observation.losses
        if logits is None or losses is None or not np.isfinite(losses).all():
            return
        entry = observation, logits.tokens.astype(self._kind)
        if self._best is None or observation.loss < self._best[0].loss:
            self._best = entry
        if np.count_nonzero(observation.weights) > 1:
            return
        size = _bytes(entry)
        # room is left for the best
        if self._size + 2 * size <= LARGEST and key_of(observation.weights) not in self._kept:
            self._size += size
            self._kept[key_of(observation.weights)] = entry

    def evaluations(self, origin: Mapping[str, str], batches: Batches, found: Float64) -> Evaluations | None:
        """What there is to keep; found: the weights that the search took, (N,). None without a module alone."""
        kept = list(self._kept.values())
        if len(kept) < 2 or kept[0][0].weights.any():
            return None
        if (
            self._best is not None
            and key_of(self._best[0].weights) == key_of(found)
            and key_of(found) not in self._kept
        ):
            kept.insert(1, self._best)
        seen = [observation for observation, _ in kept]
        logits = [observation.logits for observation in seen if observation.logits is not None]
        return Evaluations(
            origin=dict(origin),
            examples=tuple(batches.digests),
            batches=tuple(tuple(batch.members) for batch in batches.batches),
            counts=self._counts,
            weights=np.array([observation.weights for observation in seen]) + 0.0,
            losses=np.array([observation.losses for observation in seen]),
            tokens=np.array([tokens for _, tokens in kept]),
            logits=np.array([one.logits for one in logits]),
            rest=np.array([one.rest for one in logits]),
        )


def _bytes(entry: tuple[Observation, NDArray[Any]]) -> int:
    observation, tokens = entry
    assert observation.logits is not None
    assert observation.losses is not None
    arrays: Sequence[NDArray[Any]] = (
        observation.weights, observation.losses, tokens, observation.logits.logits, observation.logits.rest,
    )  # fmt: skip
    return sum(array.nbytes for array in arrays)


def key_of(weights: Float64) -> bytes:
    """By which equal weights (N,) are found."""
    return (weights + 0.0).tobytes()  # -0.0 is 0.0

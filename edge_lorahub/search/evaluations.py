"""What a search has seen, kept beside its adapter: another search with some of the examples need not see it again.

Kept are the candidates that such a search asks for too: the plain model, every module alone, and the weights found. The
file is safetensors, with a digest of its contents. An example is in it as the digest of its tokens, and by the ids of
its output's tokens, which the logits begin with.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import EdgeLorahubError, EdgeLorahubWarning, ModuleFileError
from ..files.reading import check_values, open_file
from ..hub.resolve import module_folder
from ..label_logits import LabelLogits
from ..tensors.safetensors_writing import write_safetensors

Float64 = NDArray[np.float64]
EVALUATIONS = "evaluations.safetensors"
# Bytes of all arrays. 20 modules, 5 examples and 4 label tokens take 0.4 MB.
LARGEST = 64 << 20
# What the header may have beside the arrays.
_LARGEST_HEADER = 1 << 20
_FORMAT = 1
_FACTS, _DIGEST = "edge-lorahub evaluations", "sha256"


@dataclass(frozen=True, eq=False)
class Evaluations:
    """n candidates, evaluated on E examples with T label tokens in all.

    origin: what they are evaluations of, by name (`reuse.origin_of`). examples: the digest of each example's tokens.
    batches: the examples' places, by the batches in which they ran. counts int64 (E,): label tokens. weights float64
    (n, N); losses float64 (n, E): the mean token cross-entropy of each example. tokens uint16 or uint32 (n, T, M),
    logits float32 (n, T, M) and rest float32 (n, T): as in LabelLogits, example by example.
    """

    origin: Mapping[str, str]
    examples: tuple[str, ...]
    batches: tuple[tuple[int, ...], ...]
    counts: NDArray[np.int64]
    weights: Float64
    losses: Float64
    tokens: NDArray[Any]
    logits: NDArray[np.float32]
    rest: NDArray[np.float32]

    def __repr__(self) -> str:
        return f"Evaluations({len(self.weights)} candidates on {len(self.examples)} examples)"

    @cached_property
    def digest(self) -> str:
        """The hexadecimal SHA-256 of all that is in them."""
        digest = hashlib.sha256(self._facts().encode())
        for name, array in sorted(self._arrays().items()):
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def label_logits(self, candidate: int, example: int) -> LabelLogits:
        """What was seen of one example."""
        end = int(self.counts[: example + 1].sum())
        place = slice(end - int(self.counts[example]), end)
        tokens, logits, rest = (array[candidate, place] for array in (self.tokens, self.logits, self.rest))
        return LabelLogits(tokens.astype(np.int64), logits, rest)

    def parts(self, examples: Sequence[str]) -> list[list[int]]:
        """Which of other examples, by their digests, to keep together in batches: places, each in one part.

        Those that ran in one batch stay with each other, in their order. All that are not here are the last part.
        """
        left: dict[str, list[int]] = {}
        for place, digest in enumerate(examples):
            left.setdefault(digest, []).append(place)
        parts = []
        for batch in self.batches:
            found = [left[self.examples[place]] for place in batch if self.examples[place] in left]
            parts.append([places.pop(0) for places in found if places])
        parts.append(sorted(place for places in left.values() for place in places))
        return [part for part in parts if part]

    def _arrays(self) -> dict[str, NDArray[Any]]:
        names = "counts", "weights", "losses", "tokens", "logits", "rest"
        return {name: getattr(self, name) for name in names}

    def _facts(self) -> str:
        facts = {
            "format": _FORMAT, "origin": dict(self.origin), "examples": self.examples, "batches": self.batches,
        }  # fmt: skip
        return json.dumps(facts, sort_keys=True)

    def save(self, folder: Path) -> None:
        """Writes the file into a folder."""
        arrays = {name: np.ascontiguousarray(array) for name, array in self._arrays().items()}
        write_safetensors(folder / EVALUATIONS, arrays, {_FACTS: self._facts(), _DIGEST: self.digest})


def load_evaluations(source: str | Path) -> Evaluations | None:
    """Reads what the search for an adapter has seen, from the adapter's folder.

    None where there is nothing, as beside an adapter of CMA-ES alone, of other origin or from the Hub; and, with a
    warning, where the file is damaged. Raises MissingPathError or HubError where there is no adapter.
    """
    path = module_folder(source) / EVALUATIONS
    if not os.path.lexists(path):
        return None
    try:
        return _read(path)
    except (EdgeLorahubError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).removeprefix(f"{path}: ").split())
        warnings.warn(
            f"{path}: damaged ({reason:.200}); it is not used, and everything is evaluated anew",
            EdgeLorahubWarning,
            stacklevel=2,
        )
        return None


def _read(path: Path) -> Evaluations:
    from safetensors import SafetensorError, safe_open

    with open_file(path, ModuleFileError) as file:
        if os.fstat(file.fileno()).st_size > LARGEST + _LARGEST_HEADER:
            raise ValueError(f"larger than {(LARGEST + _LARGEST_HEADER) >> 20} MB")
    try:
        with safe_open(str(path), framework="numpy") as handle:
            metadata = handle.metadata() or {}
            arrays = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118  # no mapping
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    check_values(metadata[_FACTS])
    facts = json.loads(metadata[_FACTS])
    if facts["format"] != _FORMAT:
        raise ValueError(f"format {facts['format']!r:.20}, and this program reads {_FORMAT}")
    batches = tuple(tuple(batch) for batch in facts["batches"])
    found = Evaluations(dict(facts["origin"]), tuple(facts["examples"]), batches, **arrays)
    if found.digest != metadata[_DIGEST]:
        raise ValueError("its contents are not what its digest says")
    _check(found)
    return found


def _check(found: Evaluations) -> None:
    """Refuses what this program does not write. Raises ValueError."""
    counts = found.counts
    texts = [*found.origin.values(), *found.examples]
    places = [place for batch in found.batches for place in batch]
    if not all(isinstance(text, str) for text in texts) or not all(type(place) is int for place in places):
        raise ValueError("a digest or place is none")
    if counts.dtype != np.int64 or counts.shape != (len(found.examples),) or (counts < 1).any():
        raise ValueError("the numbers of label tokens are none")
    candidates, positions = len(found.weights), int(counts.sum())
    kept = found.tokens.shape[-1:]
    shapes = {
        "weights": (np.float64, (candidates, found.weights.size // max(1, candidates))),
        "losses": (np.float64, (candidates, len(counts))),
        "logits": (np.float32, (candidates, positions, *kept)),
        "rest": (np.float32, (candidates, positions)),
    }
    arrays = found._arrays()
    for name, (kind, shape) in shapes.items():
        if arrays[name].dtype != kind or arrays[name].shape != shape:
            raise ValueError(f"{name} has type {arrays[name].dtype} and shape {arrays[name].shape}")
    if found.tokens.dtype not in (np.uint16, np.uint32) or found.tokens.shape != found.logits.shape:
        raise ValueError(f"tokens has type {found.tokens.dtype} and shape {found.tokens.shape}")
    if not (np.isfinite(found.weights).all() and np.isfinite(found.losses).all()):
        raise ValueError("numbers that are not finite")
    if np.isnan(found.logits).any() or np.isnan(found.rest).any():
        raise ValueError("logits that are no numbers")
    if found.origin.get("tokens") != str(found.tokens.shape[2]):
        raise ValueError("other tokens a position than it says")
    if sorted(places) != list(range(len(counts))):
        raise ValueError("its batches do not have every example once")

"""So many modules of more, chosen before the search: at random, by what they say, or by what they do alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..composition.selection import SELECTIONS, Selection
from ..errors import SettingsError, warn
from ..examples.example import Example
from ..lora.modules import Modules, named_paths
from .choosing import draw
from .descriptions import described, examples_text, text_of
from .similarity import similarities

RANDOM, SIMILAR, PROBE = SELECTIONS


@dataclass(frozen=True)
class Pool:
    """Modules to choose from: their names, what they say, and how some of them are loaded, by their places."""

    names: Sequence[str]
    texts: Callable[[], Sequence[str]]
    load: Callable[[Sequence[int]], Modules]


def pool_of(sources: Sequence[str | Path]) -> Pool:
    """A pool of modules by their folders or Hub ids, which are fetched. Raises what `Modules.load` raises."""
    found = named_paths(sources)

    def texts() -> Sequence[str]:
        return [text_of(name, (), described(path)) for name, path in found]

    return Pool([name for name, _ in found], texts, lambda places: Modules.named([found[place] for place in places]))


def select(
    pool: Pool, method: str, count: int, seed: int, examples: Sequence[Example],
    losses_alone: Callable[[Modules], Sequence[float]],
) -> tuple[Modules, Selection]:  # fmt: skip
    """So many modules of a pool by one of SELECTIONS, and what is said of the choice.

    losses_alone: gives each module's loss on the examples, the less the better; only "probe" asks for it, and reads all
    modules. Raises StoreError where there are fewer modules, and SettingsError for a count below 1.
    """
    places = range(len(pool.names))
    scores: Sequence[tuple[int, float | None]]
    if method == RANDOM:
        scores = [(place, None) for place in draw(places, count, seed)]
    elif method == SIMILAR:
        scores = most_similar(pool.texts(), examples, count, seed)
    elif method == PROBE:
        draw(places, count, seed)  # looks at the numbers, before the slow part
        losses = losses_alone(pool.load(places))
        scores = [(place, losses[place]) for place in sorted(places, key=lambda place: losses[place])[:count]]
    else:
        raise SettingsError(f"a selection is one of {', '.join(SELECTIONS)}, got {method!r:.40}")
    chosen = {pool.names[place]: score for place, score in scores}
    return pool.load([place for place, _ in scores]), Selection(method, len(places), seed, chosen)


def most_similar(
    texts: Sequence[str], examples: Sequence[Example], count: int, seed: int
) -> list[tuple[int, float | None]]:
    """The places of so many texts that are most like the examples' own, with their similarity.

    Where fewer have anything in common with the examples, others are drawn with the seed, and have None; warns then.
    """
    draw(range(len(texts)), count, seed)  # looks at the count
    drawn = draw(range(len(texts)), len(texts), seed)
    found = similarities(examples_text(examples), texts)
    order = sorted((place for place in range(len(texts)) if found[place] > 0), key=lambda place: -found[place])[:count]
    filled = [place for place in drawn if found[place] <= 0][: count - len(order)]
    if filled:
        warn(
            f"only {len(order)} of {len(texts)} modules say anything that the examples say too; {len(filled)} more are "
            "drawn at random (a card, or `hub add --examples`, tells what a module is for)"
        )
    return [*((place, found[place]) for place in order), *((place, None) for place in filled)]

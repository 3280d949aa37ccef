"""Examples as packed tokens: what several texts have in common, from their start on, is there once.

Prompts of one template begin alike, and so do few-shot prompts, or one input with several answers. The texts of a batch
are a tree of tokens (a trie), and a token with all that is before it is one node of it. A decoder computes the same for
a node in whichever text it stands, so the score graph computes it once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...bundle.decoder_only import PLACES, POSITIONS, ROWS, SCORED, SCORED_PLACES, SCORED_ROWS
from ...bundle.graphs import INPUT_IDS
from ...errors import SettingsError

Ids = NDArray[np.int64]


class Text(NamedTuple):
    """Token ids int64 (T,) of a prompt and its completion, and where the completion begins."""

    ids: Ids
    start: int


@dataclass(frozen=True)
class Packed:
    """A batch for the score graph: its inputs by name, and by text the label tokens.

    The graph's logits (M, V) are the label tokens' in the order of the texts.
    """

    inputs: Mapping[str, Ids]
    labels: tuple[Ids, ...]

    @property
    def tokens(self) -> int:
        """The packed tokens, N."""
        return len(self.inputs[INPUT_IDS])

    @property
    def scored(self) -> int:
        """The label tokens of all texts, M."""
        return len(self.inputs[SCORED])


def pack(texts: Sequence[Text]) -> Packed:
    """Packs a batch of texts that `check_texts` lets pass."""
    ids: list[int] = []
    positions: list[int] = []
    places: list[int] = []
    nodes: dict[tuple[int, int], int] = {}  # (node before, token) -> node
    length = max(len(text.ids) for text in texts)
    rows = np.zeros((len(texts), length), np.int64)
    for row, text in enumerate(texts):
        node = -1
        for position, token in enumerate(text.ids.tolist()):
            key = node, token
            if key not in nodes:
                nodes[key] = len(ids)
                ids.append(token)
                positions.append(position)
                places.append(row * length + position)
            node = nodes[key]
            rows[row, position] = node
    labels = tuple(text.ids[text.start :] for text in texts)
    most = max(map(len, labels))
    scored_rows = np.zeros((len(texts), most), np.int64)
    scored: list[Ids] = []
    scored_places: list[Ids] = []
    count = 0
    for row, (text, mine) in enumerate(zip(texts, labels, strict=True)):
        # the logits of a token predict the one after it
        scored.append(rows[row, text.start - 1 : len(text.ids) - 1])
        scored_rows[row, : len(mine)] = np.arange(count, count + len(mine))
        scored_places.append(row * most + np.arange(len(mine)))
        count += len(mine)
    inputs = {
        INPUT_IDS: np.array(ids, np.int64),
        POSITIONS: np.array(positions, np.int64),
        ROWS: rows,
        PLACES: np.array(places, np.int64),
        SCORED: np.concatenate(scored),
        SCORED_ROWS: scored_rows,
        SCORED_PLACES: np.concatenate(scored_places),
    }
    return Packed(inputs, labels)


def check_texts(texts: Mapping[int, Text], longest: int | None) -> None:
    """Refuses a text that is too long, has no label, or no token before its first label: nothing would predict it.

    texts: by their places among all, from 0, of which messages have the numbers. longest: the most tokens of a text
    that the model can read. Raises SettingsError.
    """
    for place, text in texts.items():
        if not 1 <= text.start < len(text.ids):
            raise SettingsError(
                f"text {place + 1}: {len(text.ids)} tokens, of which the labels begin at {text.start}; there must be a "
                "token before them, and at least one of them"
            )
        check_length(len(text.ids), longest, f"text {place + 1}", "--max-input-tokens or --max-output-tokens")


def check_length(tokens: int, longest: int | None, what: str, option: str) -> None:
    """Refuses a text for which the graphs have no positions; option: what makes it shorter. Raises SettingsError."""
    if longest is not None and tokens > longest:
        raise SettingsError(
            f"{what} has {tokens} tokens with its answer, but the model's positions end at {longest}; shorten it, or "
            f"where there is the option use {option}"
        )

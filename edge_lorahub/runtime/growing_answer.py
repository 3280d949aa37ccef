"""An answer that is being made: its text token by token, how many tokens went in and came out, and why it ended."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..bundle.prompt import Prompt
from .answers import chooser_of, steps, warn_of_cut
from .binding import Runner
from .sampling import Sampling
from .stopping import Stops, pieces


class GrowingAnswer:
    """The answer to one text. Iterating makes it, once; what it gives are the pieces of `stream`, and "" in between.

    A "" is a token after which nothing more of the text is settled, so that whoever iterates can stop at any token.
    source_tokens: what the model reads. answer_tokens: those chosen so far, the end token among them. ending: "end" at
    an end token, "stop" at a stop string, "length" where the answer was cut; None while it is being made.
    """

    def __init__(
        self,
        runner: Runner,
        text: str,
        *,
        max_new_tokens: int,
        max_input_tokens: int,
        sampling: Sampling | None = None,
        stops: Stops | None = None,
        first: int = 1,
        prompt: Prompt | None = None,
    ) -> None:
        """Arguments and errors are those of `stream_with`."""
        model = runner.model
        self._runner, self._most, self._stops = runner, max_new_tokens, stops or Stops()
        self._rows = model.bundle.sources([text], max_input_tokens, first, prompt)
        self._chooser = chooser_of(model, self._rows, [first], sampling)
        self.source_tokens = len(self._rows[0])
        self.answer_tokens = 0
        self.ending: str | None = None

    def __iter__(self) -> Iterator[str]:
        yield from pieces(self._states(), self._stops)
        if self.ending is None:
            self.ending = "stop"

    def _states(self) -> Iterator[str]:
        """The answer's text after each token."""
        model = self._runner.model
        row: list[int] = []
        ended, text = False, ""
        for chosen in steps(self._runner, self._rows, self._most, chooser=self._chooser):
            self.answer_tokens += 1
            ended = chosen[0] in model.manifest.model.end_token_ids
            if not ended:
                row.append(int(chosen[0]))
            text = model.tokens.decode([np.array(row, np.int64)])[0]
            yield text
        # not reached where a stop string has ended it before
        self.ending = "end" if ended else "stop" if self._stops.cut(text) != text else "length"
        warn_of_cut(model, self._rows, [np.array(row, np.int64)], self._most)

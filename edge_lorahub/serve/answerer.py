"""One answer: what is asked of the model, and what comes of it while it is made."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from ..bundle.prompt import Prompt
from ..composition.adapter import Adapter
from ..composition.prompt_record import recorded_prompt, warn_of_other_prompt
from ..runtime.binding import Runner
from ..runtime.generation import runner_for
from ..runtime.growing_answer import GrowingAnswer
from ..runtime.prompt_choice import PLAIN, choose_prompt
from ..runtime.sampling import Sampling
from ..runtime.session import Model
from ..runtime.stopping import Stops
from .heard import hearing
from .limits import Limits
from .refusal import Refusal
from .shelf import Held, Shelf


@dataclass(frozen=True)
class Question:
    """model: a name. raw: the text alone is read, without the texts that the model's prompt has around it."""

    model: str
    text: str
    new_tokens: int
    sampling: Sampling | None = None
    stop: tuple[str, ...] = ()
    system: str | None = None
    raw: bool = False


@dataclass(frozen=True)
class Begun:
    """The question can be answered. source_tokens: what the model reads."""

    source_tokens: int


@dataclass(frozen=True)
class Ended:
    """ending: as that of `GrowingAnswer`; answer_tokens: what the model wrote, an end token among them."""

    ending: str
    source_tokens: int
    answer_tokens: int
    warnings: tuple[str, ...]


Part = Begun | str | Ended


class Answerer:
    """Answers questions, each in a thread of the caller's."""

    def __init__(self, model: Model, name: str, shelf: Shelf, limits: Limits) -> None:
        """name: that of the bundle. Loads the graphs that generate, so that what is wrong with them shows at once."""
        self.model, self.name = model, name
        self._shelf, self._limits = shelf, limits
        self._loading = threading.Lock()
        self._runner(None)

    def answer(self, question: Question, give: Callable[[Part], None]) -> None:
        """Gives Begun, then texts ("" for a token that adds none), then Ended.

        give ends the work by raising. Raises Refusal, or what the runtime raises.
        """
        with hearing() as heard:
            held = None if question.model == self.name else self._shelf.get(question.model)
            heard.extend(() if held is None else held.warnings)
            prompt = self._prompt(question, None if held is None else held.adapter)
            stops = Stops(question.stop)
            stops.warn_of_unwritable(self.model.tokens)
            most = self._limits.input_tokens
            answer = GrowingAnswer(
                self._runner(held), question.text, max_new_tokens=question.new_tokens, max_input_tokens=most + 1,
                sampling=question.sampling, stops=stops, prompt=prompt,
            )  # fmt: skip
            if answer.source_tokens > most:
                raise Refusal(
                    400,
                    f"the input has more than {most} tokens, which is the most here",
                    code="context_length_exceeded",
                )
            give(Begun(answer.source_tokens))
            for piece in answer:
                give(piece)
            give(Ended(answer.ending or "length", answer.source_tokens, answer.answer_tokens, tuple(heard)))

    def _prompt(self, question: Question, adapter: Adapter | None) -> Prompt:
        prompt = choose_prompt(self.model.bundle, PLAIN if question.raw else None, question.system, adapter)
        learned = None if adapter is None else recorded_prompt(adapter)
        if question.raw and learned is not None and learned.applied != prompt.applied:
            raise Refusal(
                400,
                f"{question.model}: learned with texts around its inputs, which a bare completion leaves out; take "
                "/v1/chat/completions or /v1/generate",
                param="model",
            )
        warn_of_other_prompt(adapter, prompt)
        return prompt

    def _runner(self, held: Held | None) -> Runner:
        """A runner for this thread; they share the sessions."""
        with self._loading:
            return runner_for(self.model, None) if held is None else Runner(self.model, "generate", held.inputs)

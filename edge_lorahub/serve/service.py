"""What the routes share: the model, its adapters, its adaptations and its turns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path

from ..composition.selection import Selection
from ..lora.modules import Modules
from ..runtime.session import Model
from .adaptations import Adaptations
from .answerer import Answerer, Ended, Part
from .counts import Counts, resident_bytes
from .feed import Feed
from .heard import listen
from .limits import Limits
from .questions import Asked
from .shelf import Shelf
from .turns import Leave, Turns


@dataclass
class Service:
    """A model that is served. name: what requests call it. selection: how its modules were chosen of more."""

    model: Model
    name: str
    modules: Modules | None = None
    folder: Path | None = None
    limits: Limits = field(default_factory=Limits)
    selection: Selection | None = None

    def __post_init__(self) -> None:
        listen()
        self.counts = Counts()
        self.shelf = Shelf(self.model.manifest, self.folder, self.limits, self.name)
        self.answerer = Answerer(self.model, self.name, self.shelf, self.limits)
        self.adaptations = Adaptations(self.model, self.modules, self.shelf, self.limits, self.selection)
        self.turns = Turns("answers", self.limits.answers, self.limits.waiting)

    async def parts(self, asked: Asked) -> AsyncGenerator[Part, None]:
        """The parts of an answer as they come; closed, the answer is given up."""
        leave = Leave(self.limits.answer_seconds, "an answer")
        feed = Feed(
            self.turns, leave, lambda give: self.answerer.answer(asked.question, give), self.limits.wait_seconds
        )
        items = feed.items()
        ended = False
        try:
            async for part in items:
                if isinstance(part, Ended):
                    ended = True
                    self.counts.source_tokens += part.source_tokens
                    self.counts.answer_tokens += part.answer_tokens
                yield part
        except (asyncio.CancelledError, GeneratorExit):
            self.counts.given_up += not ended
            raise
        finally:
            await items.aclose()

    def metrics(self) -> str:
        """In Prometheus's format. Waits for a lock."""
        held, size = self.shelf.held
        gauges: dict[str, tuple[str, float]] = {
            "answers_running": ("Answers that are being made.", self.turns.running),
            "answers_waiting": ("Requests that wait for their turn.", self.turns.waiting),
            "adaptations_running": ("Adaptations that run.", self.adaptations.turns.running),
            "adaptations_waiting": ("Adaptations that wait for their turn.", self.adaptations.turns.waiting),
            "adapters_held": ("Adapters in memory.", held),
            "adapters_bytes": ("What they take.", size),
        }
        if (resident := resident_bytes()) is not None:
            gauges["resident_memory_bytes"] = ("The memory of the process.", resident)
        return self.counts.text(self.adaptations.ended, gauges)

    def close(self) -> None:
        """Ends what runs, and waits for that."""
        self.adaptations.turns.close()
        self.turns.close()

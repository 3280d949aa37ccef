"""Adaptations as jobs: asked for, waited for, watched while they search, cancelled, and remembered for a while."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import Any

from ..composition.selection import Selection
from ..examples.example import Example
from ..learning.adaptation import adapt
from ..learning.learned import Adaptation
from ..learning.settings import Settings
from ..lora.modules import Modules
from ..runtime.prompt_choice import choose_prompt
from ..runtime.session import Model
from ..search.budget import Budget
from ..search.strategy import Candidate
from .heard import hearing
from .limits import Limits
from .refusal import Gone, Refusal, log_defect, refusal_of
from .shelf import Shelf
from .turns import TIME_OVER, Leave, Turn, Turns

FINAL = ("done", "failed", "cancelled")


@dataclass(frozen=True)
class Task:
    """What is to be learned, and the name of the adapter that comes of it; None: one is found."""

    examples: tuple[Example, ...]
    settings: Settings
    name: str | None
    system: str | None = None


class Job:
    """An adaptation, and all that happened in it; everything but the search is in the service's own thread.

    state: "waiting", "running", or one of FINAL. events have a number, a kind and data; the last kind is a state.
    """

    def __init__(self, job_id: str, name: str, examples: int) -> None:
        self.id, self.name, self.examples = job_id, name, examples
        self.state = "waiting"
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.result: dict[str, Any] | None = None
        self.error: dict[str, Any] | None = None
        self.turn: Turn | None = None
        self._changed = asyncio.Event()

    def add(self, kind: str, data: dict[str, Any]) -> None:
        self.events.append((kind, data))
        self._changed.set()
        self._changed = asyncio.Event()

    def finish(self, state: str, data: dict[str, Any]) -> None:
        if self.state not in FINAL:
            self.state = state
            self.add(state, data)

    @property
    def record(self) -> dict[str, Any]:
        # where none came of it, another may have the name by now
        name = self.name if self.state not in FINAL or self.state == "done" else None
        return {
            "id": self.id, "object": "adaptation", "state": self.state, "adapter": name,
            "examples": self.examples, "candidates": sum(kind == "candidate" for kind, _ in self.events),
            "result": self.result, "error": self.error,
        }  # fmt: skip

    async def follow(self, after: int = 0) -> AsyncGenerator[tuple[int, str, dict[str, Any]], None]:
        """The events behind the one of that number, up to the last one, as they come."""
        while True:
            changed = self._changed
            while after < len(self.events):
                after += 1
                yield after, *self.events[after - 1]
            if self.state in FINAL:
                return
            await changed.wait()


class Adaptations:
    """All jobs of a service."""

    def __init__(
        self, model: Model, modules: Modules | None, shelf: Shelf, limits: Limits, selection: Selection | None = None
    ) -> None:
        """modules: None where nothing can be adapted. selection: how they were chosen of more, for the records."""
        self._selection = selection
        self._model, self._modules, self._shelf, self._limits = model, modules, shelf, limits
        self.turns = Turns("adaptations", 1, limits.waiting_adaptations)
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._number = 0
        self.ended = dict.fromkeys(FINAL, 0)

    @property
    def possible(self) -> bool:
        return self._modules is not None

    def start(self, task: Task) -> Job:
        """Raises Refusal: 409 where there are no modules or the name is in use, 429 where too many wait."""
        if self._modules is None:
            raise Refusal(
                409, "nothing can be adapted here: the service was started without modules; give it --hub, --modules "
                "or --module", code="no_modules",
            )  # fmt: skip
        modules = self._modules
        name = self._shelf.reserve(task.name)
        self._number += 1
        job = Job(f"adaptation-{self._number}", name, len(task.examples))
        leave = Leave(self._limits.adapt_seconds, "an adaptation")

        def run(turn: Turn) -> None:
            turn.post(lambda: self._began(job))
            result, heard = self._learn(task, modules, job, turn)
            self._shelf.put(name, result.adapter)
            data = _result(name, result, heard)
            turn.post(lambda: self._finished(job, data))

        try:
            job.turn = self.turns.start(run, leave)
        except Refusal:
            self._shelf.release(name)
            raise
        turn = job.turn
        turn.future.add_done_callback(lambda _: turn.post(lambda: self._ended(job)))
        self._jobs[job.id] = job
        for old in [one.id for one in self._jobs.values() if one.state in FINAL]:
            if len(self._jobs) <= self._limits.jobs:
                break
            del self._jobs[old]
        return job

    def get(self, job_id: str) -> Job:
        if job_id not in self._jobs:
            raise Refusal(404, f"{job_id!a:.80}: no such adaptation; the last {self._limits.jobs} are remembered")
        return self._jobs[job_id]

    def jobs(self) -> list[Job]:
        return list(self._jobs.values())

    def cancel(self, job: Job) -> None:
        """It ends at its next candidate; the state says so at once."""
        if job.state not in FINAL:
            self.ended["cancelled"] += 1
            job.finish("cancelled", {})
            if job.turn is not None:
                job.turn.end()

    def _learn(self, task: Task, modules: Modules, job: Job, turn: Turn) -> tuple[Adaptation, list[str]]:
        best, done = math.inf, 0

        def candidate(one: Candidate) -> None:
            nonlocal best, done
            turn.leave.check()
            done += 1
            best = min(best, one.loss)
            data = {
                "phase": one.phase, "loss": _number(one.loss), "best": _number(best),
                "predicted": None if one.predicted is None else _number(one.predicted),
            }  # fmt: skip
            turn.post(lambda: job.add("candidate", data))

        def budget(found: Budget) -> None:
            turn.leave.check()
            data = {"candidates": found.candidates, "reason": found.reason, "seconds": found.seconds}
            turn.post(lambda: job.add("budget", data))

        with hearing() as heard:
            self._check_lengths(task)
            try:
                result = adapt(
                    self._model, modules, task.examples, task.settings, system=task.system,
                    on_candidate=candidate, on_budget=budget,
                )  # fmt: skip
                turn.leave.check()
            except Refusal as error:
                raise _with_advice(error, done) from error
            if self._selection is not None:
                result = replace(result, record=replace(result.record, selection=self._selection))
            return result, heard

    def _check_lengths(self, task: Task) -> None:
        """Refuses examples that are longer than what is learned from, which would be cut."""
        most = self._limits.example_tokens
        prompt = choose_prompt(self._model.bundle, None, task.system)
        lengths = self._model.bundle.encode(task.examples, most + 1, most + 1, prompt).lengths
        for place, (source, label) in enumerate(lengths):
            if max(source, label) > most:
                what = "input" if source > most else "output"
                raise Refusal(400, f"examples[{place}].{what}: more than {most} tokens", param="examples")
        if (whole := sum(map(sum, lengths))) > self._limits.task_tokens:
            raise Refusal(
                400, f"examples: {whole} tokens together, and {self._limits.task_tokens} are the most", param="examples"
            )

    def _began(self, job: Job) -> None:
        if job.state == "waiting":
            job.state = "running"
            job.add("running", {})

    def _finished(self, job: Job, data: dict[str, Any]) -> None:
        if job.state not in FINAL:
            self.ended["done"] += 1
            job.result = data
            job.finish("done", data)

    def _ended(self, job: Job) -> None:
        """After the work, whatever became of it."""
        self._shelf.release(job.name)
        turn = job.turn
        if job.state in FINAL or turn is None:
            return
        error = None if turn.future.cancelled() else turn.future.exception()
        if error is None or isinstance(error, Gone):
            self.cancel(job)
            return
        refusal = (
            refusal_of(error) if isinstance(error, Exception) else Refusal(500, "ended by the system", code="defect")
        )
        log_defect(refusal, error)
        self.ended["failed"] += 1
        job.error = refusal.record["error"]
        job.finish("failed", refusal.record)


def _with_advice(refusal: Refusal, done: int) -> Refusal:
    """What to do about an adaptation whose time is over; done: its candidates by then."""
    if refusal.code != TIME_OVER:
        return refusal
    return Refusal(
        refusal.status,
        f"{refusal.message}; it had evaluated {done} candidate{'' if done == 1 else 's'}, and nothing is kept of them: "
        "ask for a smaller budget, or start the service with a larger --max-adapt-seconds",
        code=refusal.code,
    )


def _result(name: str, found: Adaptation, heard: list[str]) -> dict[str, Any]:
    return {
        "adapter": name,
        "weights": found.weights,
        "loss_before": _number(found.loss_before),
        "loss_after": _number(found.loss_after),
        "losses_before": None if found.losses_before is None else [_number(one) for one in found.losses_before],
        "losses_after": None if found.losses_after is None else [_number(one) for one in found.losses_after],
        "candidates": len(found.trace),
        "converged": found.converged,
        "seconds": found.seconds,
        "best_single": found.best_single,
        "optimizer": found.optimizer,
        "composition": found.composition,
        "warnings": heard,
    }


def _number(value: float) -> float | None:
    """JSON has no infinity: None, for a candidate that was stopped early."""
    return float(value) if math.isfinite(value) else None

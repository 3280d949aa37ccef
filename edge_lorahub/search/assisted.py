"""CMA-ES assisted by a surrogate of the label logits: the default search.

docs/explanation/search.md has how it works, and why.

Three phases. Probing evaluates each module alone, which shows what it does to every label token. Then the surrogate's
minimum within a trust region around the best candidate is evaluated, learned from, and so on, while the surrogate sees
something to gain. CMA-ES goes on from there where the surrogate cannot: with an objective that is no cross-entropy, or
when what it predicts does not come. It starts at the surrogate's optimum, in the metric of its Gauss-Newton matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .cma_es import CmaEs
from .compaction import Compaction
from .explain import Explanation, check, explain
from .newton import MOST_STEPS, Penalty, minimize
from .settings import SearchSettings
from .strategy import Candidate, Float64, Observation, Proposal, best
from .surrogate import Labels, Surrogate, reaches

# The weight with which a module is probed.
PROBE = 0.8
# Half the width of the trust region's box: at first, at most, and least; how it grows and shrinks; and the shares of
# the predicted gain that must be seen for either.
_RADIUS, _WIDEST, _NARROWEST = 0.8, 1.0, 0.02
_GROW, _SHRINK = 1.6, 0.6
_GOOD, _POOR = 0.75, 0.2
# The most modules whose weight a proposed candidate changes from the center: it costs what they cost, and a few
# examples cannot tell more of them.
MOST_ACTIVE = 48
# Newton steps that tell which modules to keep.
_FEW_STEPS = 4
# With fewer candidates than modules, the share of them that go into probing.
_PROBED = 0.85
# The search ends after so many rounds in a row that promise, or bring, less than this share of the objective, or of
# what was gained so far where that is less; that counts as a hundredth of the objective at least.
_LEAST_GAIN, _PATIENCE = 5e-3, 3
_LEAST_GAINED = 0.01
# CMA-ES that goes on from the surrogate's best looks close to it: the share of its usual step size.
_CLOSE = 0.25
# With an objective that the surrogate does not see, the share of what the probes leave that it may still have.
_SHARE = 0.3
# The metric's least curvature, as a share of its mean.
_LEAST_CURVATURE = 1e-2


def probes_within(budget: int, dimension: int) -> int:
    """How many of so many modules are tried alone in a budget, after the plain model: all, if enough is left then."""
    left = budget - 1
    return min(dimension, left if left < 2 else max(1, round(_PROBED * left)))


def budget_for_probes(dimension: int) -> int:
    """The least budget in which so many modules are all tried alone."""
    budget = 1 + dimension
    while probes_within(budget, dimension) < dimension:
        budget += 1
    return budget


class SurrogateSearch:
    """For losses whose evaluations give label logits in exact composition."""

    name = "CMA-ES with a surrogate of the label logits"

    def __init__(
        self,
        settings: SearchSettings,
        dimension: int,
        labels: Labels,
        *,
        center: Float64 | None = None,
        order: Callable[[], Sequence[int]] | None = None,
        own_objective: bool = False,
    ) -> None:
        """center: the weights around which the penalty and the first candidates are, (N,); None: 0.

        order: gives the modules, the most promising first, and is asked where not all can be tried. own_objective: what
        is to be minimized is another thing than the labels' cross-entropy, which then is but a guide.
        """
        self.labels = labels
        self.penalty = Penalty(settings.strength, np.zeros(dimension) if center is None else center)
        self._order = order
        self.probed: list[int] = []
        self._settings = settings
        self._own = own_objective
        self._asked = 0  # proposals
        self._rounds_left: int | None = None
        self._weights: list[Float64] = []
        self._logits = Compaction()
        self._values: list[float] = []
        self._reach: Float64 | None = None
        self._radius = _RADIUS
        self._predicted: float | None = None
        self._idle = 0
        self._cma: CmaEs | None = None

    def ask(self, left: int) -> Proposal | None:
        self._asked += 1
        if self._asked == 1:
            start = self.penalty.center
            first = np.zeros_like(start)
            return Proposal(np.array([first, start] if start.any() else [first])[:left], "plain model", logits=True)
        if self._asked == 2:
            return self._probes(left)
        if self._cma is None:
            proposal = self._round(left)
            if proposal is not None:
                return proposal
            if not self._own and self._radius > _NARROWEST:
                return None
            self._cma = self._handed_over()
        return Proposal(self._cma.ask()[:left], "CMA-ES")

    def _probes(self, left: int) -> Proposal:
        dimension = len(self.penalty.center)
        self.probed = list(range(dimension))
        count = probes_within(1 + left, dimension)
        if count < dimension and self._order is not None:
            self.probed = list(self._order())
        self.probed = self.probed[:count]
        weight = min(PROBE, self._settings.bound)
        return Proposal(weight * np.eye(dimension)[self.probed], "probing", logits=True)

    def _round(self, left: int) -> Proposal | None:
        """The surrogate's next candidate; None: it has nothing more to gain, or had its share of the candidates."""
        if self._rounds_left is None:
            self._rounds_left = max(1, int(_SHARE * left)) if self._own else left
        if not self._rounds_left or self._idle >= _PATIENCE or not self._weights:
            return None
        self._rounds_left -= 1
        start, value = self._best()
        low = np.maximum(start - self._radius, -self._settings.bound)
        high = np.minimum(start + self._radius, self._settings.bound)
        w, predicted = self._minimum(start, low, high)
        self._predicted = predicted
        if value - predicted < self._least(value) and any(np.array_equal(w, known) for known in self._weights):
            return None
        return Proposal(w[None], "model", logits=True, predicted=predicted)

    def _minimum(self, start: Float64, low: Float64, high: Float64) -> tuple[Float64, float]:
        """The surrogate's minimum in a box, with at most MOST_ACTIVE modules away from the center; and its value.

        Of more modules those are tried that are away from it already, and those that promise most by the gradient; the
        ones that then move the logits most are kept, and the minimum among these is found.
        """
        surrogate, center = self.surrogate(), self.penalty.center
        if len(center) <= MOST_ACTIVE:
            return minimize(surrogate, self.labels, self.penalty, start, low, high)
        _, by_logits = surrogate.loss(start, self.labels)
        rank = np.abs(surrogate.gradient(start, by_logits))
        rank[start != center] = np.inf
        w = start
        for count, steps in ((2 * MOST_ACTIVE, _FEW_STEPS), (MOST_ACTIVE, MOST_STEPS)):
            members = np.argsort(-rank, kind="stable")[:count]
            lowest, highest, begin = center.copy(), center.copy(), center.copy()
            lowest[members], highest[members], begin[members] = low[members], high[members], w[members]
            w, value = minimize(surrogate, self.labels, self.penalty, begin, lowest, highest, steps=steps)
            rank = np.abs(w - center) * surrogate.reach
        return w, value

    def _best(self) -> tuple[Float64, float]:
        """Of what was evaluated, the weights with the least cross-entropy and penalty, and these."""
        index = int(np.argmin(self._values))
        return self._weights[index], self._values[index]

    def surrogate(self) -> Surrogate:
        """Fitted to all that was evaluated so far, at least w = 0."""
        weights, logits = np.array(self._weights), self._logits.rows()
        if self._reach is None:
            self._reach = reaches(weights, logits)
        return Surrogate(weights, logits, self._reach)

    def tell(self, seen: Sequence[Observation]) -> None:
        if self._cma is not None:
            if len(seen) == self._cma.population:
                self._cma.tell(np.array([o.weights for o in seen]), np.array([o.loss for o in seen]))
            return
        before = min(self._values, default=np.inf)
        for observation in seen:
            self._learn(observation)
        if self._predicted is not None:
            self._judge(before, self._values[-1], self._predicted)
            self._predicted = None

    def _learn(self, observation: Observation) -> None:
        if observation.logits is None or observation.losses is None:
            return
        loss = float(observation.losses.mean())
        if np.isfinite(loss):  # a candidate that overflows teaches nothing
            self._weights.append(observation.weights.copy())
            self._logits.add(observation.logits)
            self._values.append(loss + self.penalty(observation.weights))

    def _judge(self, before: float, found: float, predicted: float) -> None:
        """Widens or narrows the trust region by what came of what was predicted."""
        share = (before - found) / max(before - predicted, 1e-12)
        if share > _GOOD:
            self._radius = min(_WIDEST, self._radius * _GROW)
        elif share < _POOR:
            self._radius = max(_NARROWEST, self._radius * _SHRINK)
        small = max(before - found, before - predicted) < self._least(before)
        self._idle = self._idle + 1 if small else 0

    def _least(self, value: float) -> float:
        """What a round must gain beyond the least value so far.

        A share of the value, which mostly has fallen far by then. Where little of it can be gained at all, a share of
        what was gained since the first candidate.
        """
        gained = self._values[0] - value
        return _LEAST_GAIN * min(abs(value), max(gained, _LEAST_GAINED * abs(value)))

    @property
    def knows(self) -> bool:
        """Whether any candidate had logits that are finite numbers."""
        return bool(self._values)

    def _handed_over(self) -> CmaEs:
        start, covariance = self.penalty.center, None
        if self.knows:
            start, _ = self._best()
            covariance = self._metric(start)
        settings = self._settings
        return CmaEs(
            len(start),
            population=settings.population,
            step_size=settings.step_size * (1 if self._own else _CLOSE),
            bound=settings.bound,
            seed=settings.seed,
            mean=start,
            covariance=covariance,
        )

    def _metric(self, start: Float64) -> Float64:
        """The inverse of the Gauss-Newton matrix at start, (N, N), of mean eigenvalue 1."""
        surrogate = self.surrogate()
        _, by_logits = surrogate.loss(start, self.labels)
        matrix = surrogate.curvature(start, by_logits, self.labels, np.arange(len(start)))
        values, vectors = np.linalg.eigh(matrix)
        values = np.maximum(values, _LEAST_CURVATURE * max(float(values.mean()), 1e-12))
        covariance = vectors / values @ vectors.T
        metric: Float64 = covariance / np.trace(covariance) * len(start)
        return metric

    def explain(
        self, weights: Float64, losses: Float64 | None = None,
        evaluate: Callable[[Float64], Observation] | None = None,
    ) -> Explanation:  # fmt: skip
        """What the surrogate says of weights (N,) that were evaluated, after the search.

        losses (E,): theirs. evaluate: evaluates one more candidate (N,), with its label logits; with both the examples
        that seem to disagree are checked.
        """
        told = explain(self.surrogate(), self.labels, self.penalty, weights, self._settings.bound)
        if losses is None or evaluate is None:
            return told

        def seen(w: Float64) -> Float64:
            observation = evaluate(w)
            self._learn(observation)
            return np.full_like(losses, np.nan) if observation.losses is None else observation.losses

        return check(told, self.surrogate, self.labels, self.penalty, weights, losses, self._settings.bound, seen)

    def choice(self, trace: Sequence[Candidate]) -> Float64:
        return best(trace)

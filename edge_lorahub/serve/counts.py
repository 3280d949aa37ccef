"""What the service has done, as Prometheus reads it (text format 0.0.4)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

_PREFIX = "edge_lorahub_"
TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Counts:
    """Counters; all are changed in the service's own thread."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.source_tokens = self.answer_tokens = self.given_up = 0

    def text(self, adaptations: Mapping[str, int], gauges: Mapping[str, tuple[str, float]]) -> str:
        """adaptations: how many ended in which state; gauges: by name, what they are and their values."""
        answered = [
            f'{_PREFIX}requests_total{{route="{route}",status="{status}"}} {number}'
            for (route, status), number in sorted(self.requests.items())
        ]
        states = [f'{_PREFIX}adaptations_total{{state="{state}"}} {number}' for state, number in adaptations.items()]
        lines = [
            *_family("requests_total", "counter", "Requests that were answered.", answered),
            *_family("adaptations_total", "counter", "Adaptations that have ended.", states),
            *_single("source_tokens_total", "counter", "Tokens of inputs that were answered.", self.source_tokens),
            *_single("answer_tokens_total", "counter", "Tokens of answers.", self.answer_tokens),
            *_single("answers_given_up_total", "counter", "Answers whose client went away.", self.given_up),
        ]
        for name, (what, value) in gauges.items():
            lines += _single(name, "gauge", what, value)
        return "\n".join(lines) + "\n"


def resident_bytes() -> int | None:
    """The memory of this process that is in use, where the system tells."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def _single(name: str, kind: str, what: str, value: float) -> list[str]:
    return _family(name, kind, what, [f"{_PREFIX}{name} {value:.15g}"])


def _family(name: str, kind: str, what: str, lines: Sequence[str]) -> list[str]:
    return [f"# HELP {_PREFIX}{name} {what}", f"# TYPE {_PREFIX}{name} {kind}", *lines]

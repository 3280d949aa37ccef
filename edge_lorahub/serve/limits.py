"""What a request may take of the machine."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ..errors import SettingsError


@dataclass(frozen=True)
class Limits:
    """The bounds of a service; checks itself.

    body: bytes of a request. examples: those of an adaptation; example_tokens: of each input and output, and
    task_tokens of all of them. budget: candidates. input_tokens, new_tokens: of an answer. adapt_seconds,
    answer_seconds: from the start of the work to its end. answers: how many are made at once; there is one adaptation
    at a time. waiting: how many requests wait for their turn, wait_seconds how long; waiting_adaptations: how many of
    those wait, for as long as it takes. client_seconds: how long a client may take to send a request, or to take what
    it is sent. adapters and adapter_bytes: those in memory. jobs: adaptations that are remembered. connections: of all
    clients.
    """

    body: int = 1_000_000
    examples: int = 64
    example_tokens: int = 2048
    task_tokens: int = 16_384
    budget: int = 1000
    input_tokens: int = 2048
    new_tokens: int = 512
    adapt_seconds: float = 900.0
    answer_seconds: float = 120.0
    answers: int = 2
    waiting: int = 16
    waiting_adaptations: int = 4
    wait_seconds: float = 60.0
    client_seconds: float = 10.0
    adapters: int = 8
    adapter_bytes: int = 1_000_000_000
    jobs: int = 32
    connections: int = 100

    def __post_init__(self) -> None:
        for field in fields(self):
            least = 0 if field.name.startswith("waiting") else 2 if field.name.endswith("_tokens") else 1
            if field.name.endswith("_seconds"):
                least = 0
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= least:
                raise SettingsError(f"{field.name} must be at least {least}, got {value!r:.80}")

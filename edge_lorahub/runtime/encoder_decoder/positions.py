"""How long texts may be: T5 has positions relative to each other, and in some checkpoints these end."""

from __future__ import annotations

from ...errors import SettingsError


def check_length(tokens: int, longest: int | None, what: str, option: str) -> None:
    """Refuses a text for which the model has no relative positions: beyond them its arithmetic breaks down."""
    if longest is not None and tokens > longest:
        raise SettingsError(
            f"{what} of {tokens} tokens, but the model's relative positions end at {longest} "
            f"(relative_attention_max_distance in its config.json); shorten it, or "
            f"where there is the option use {option} {longest}"
        )

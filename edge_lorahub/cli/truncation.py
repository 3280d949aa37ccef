"""`--rank`: an adapter truncated, and what is said of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..composition.adapter import Adapter


def truncated(adapter: Adapter, rank: int) -> tuple[Adapter, float, str]:
    """The adapter of at most that rank, the relative error, and a line without full stop that says both.

    One whose rank is no higher is given back as it is.
    """
    if rank >= adapter.rank:
        return adapter, 0.0, f"nothing is truncated by --rank {rank}, as the adapter has rank {adapter.rank}"
    smaller, error = adapter.truncated(rank)
    return smaller, error, f"truncated to rank {rank}: relative error of the change {error:.2%}"

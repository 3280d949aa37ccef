"""Questions to the Hub, which are asked only where it answers at all, and without the library's own lines."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

# Seconds in which the Hub has to answer at all.
_PATIENCE = 10.0


@contextmanager
def asking() -> Iterator[None]:
    """For what lists something on the Hub. Raises what the library raises where it cannot be reached.

    The library asks six times, in half a minute, and says so each time; nothing sets how often. So it is asked once
    for its front page before that, through the library's own session: its proxies and HF_HUB_OFFLINE apply.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined,unused-ignore]
    from huggingface_hub.utils import logging as said

    before = said.get_verbosity()
    said.set_verbosity(logging.ERROR)
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE)
        yield
    finally:
        said.set_verbosity(before)

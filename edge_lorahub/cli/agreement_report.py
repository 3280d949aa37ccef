"""What commands say of the check of an int8 bundle."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import EdgeLorahubWarning
from .printable import say

if TYPE_CHECKING:
    from ..export.checks.agreement import Agreement


def report_agreement(out: Path, precision: str, agreement: Agreement, *, own: bool, advice: str) -> None:
    """Prints it, and warns where the order of candidates is not kept.

    own: compared with the user's modules and examples. advice: what to do with the running command's own options.
    """
    from ..export.checks.agreement import LEAST_CORRELATION

    say(f"{precision} against fp32{'' if own else ' (random modules or texts)'}: {agreement}")
    if agreement.rank_correlation < LEAST_CORRELATION:
        warnings.warn(
            f"{out}: {precision} does not keep the order of candidates (rank correlation "
            f"{agreement.rank_correlation:.3f}, expected {LEAST_CORRELATION} or more), so a search may choose others"
            f"; {advice}",
            EdgeLorahubWarning,
            stacklevel=1,
        )

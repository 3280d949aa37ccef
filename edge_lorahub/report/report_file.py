"""The file of a report: written whole or not at all, and replaced only where it is an earlier report."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from ..errors import OutputExistsError
from ..files.outputs import check_output_file, output_file

# The last line tells a report that nobody has changed, by the digest of all lines before it.
_LAST = "<!-- edge-lorahub report, sha256 of the lines above: {} -->\n"
_PATTERN = re.compile(rb"<!-- edge-lorahub report, sha256 of the lines above: ([0-9a-f]{64}) -->\n\Z")
_LINE = len(_LAST.format("0" * 64))
# No report is larger: what is, is something else.
_LARGEST = 64 << 20


def check_report_file(path: Path, *, force: bool) -> None:
    """Refuses a place that cannot be written to, and to replace what is there. With force an earlier report may be.

    Raises OutputExistsError or NotWritableError.
    """
    check_output_file(path)
    if not path.exists():
        return
    if not force and _is_report(path):
        raise OutputExistsError(
            f"{path}: exists already; choose another name, or overwrite it with --force (force=True in Python)"
        )
    if not _is_report(path):
        raise OutputExistsError(
            f"{path}: will not be overwritten: it is not a report as edge-lorahub wrote it; choose another name, or "
            "remove it yourself"
        )


def write_report_file(path: Path, html: str, *, force: bool) -> None:
    """Writes a report with its last line. Raises as `check_report_file`, and OutputFailedError."""
    check_report_file(path, force=force)
    data = html.encode()
    with output_file(path) as work:
        work.write_bytes(data + _LAST.format(hashlib.sha256(data).hexdigest()).encode())


def _is_report(path: Path) -> bool:
    if not _LINE < path.stat().st_size <= _LARGEST:
        return False
    data = path.read_bytes()
    last = _PATTERN.search(data, len(data) - _LINE)
    return last is not None and hashlib.sha256(data[: last.start()]).hexdigest().encode() == last[1]

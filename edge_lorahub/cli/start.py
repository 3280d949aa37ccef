"""The console command's first lines: from here on signals end it quietly, also while libraries are imported."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

# The signals that are ending the program. A library may turn what they raise into another error.
ended_by: list[int] = []
# An interrupt that was lost comes again after so many seconds.
_SOON = 0.001


def main() -> None:
    """The console command. An interrupt gives exit code 130, SIGTERM 143 and SIGHUP 129."""
    _listen()
    try:
        from .main import run

        run()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except ImportError:
        if ended_by:
            sys.exit(128 + ended_by[0])
        raise
    finally:
        _stop_listening()


def interrupt(number: int, _: object) -> None:
    ended_by.append(number)
    raise KeyboardInterrupt


def terminate(number: int, _: object) -> None:
    """As an interrupt does it, so that what is half written is removed."""
    ended_by.append(number)
    raise SystemExit(128 + number)


def _listen() -> None:
    for name, handler in {"SIGINT": interrupt, "SIGTERM": terminate, "SIGHUP": terminate}.items():
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        # not where a shell or nohup has it ignored
        if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, handler)
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(ended_by[-1]))
        sys.unraisablehook = _unraisable


def _unraisable(lost: UnraisableHookArgs) -> None:
    """A signal came in a callback, which cannot pass on what is raised, as of importlib's weak references."""
    if ended_by and issubclass(lost.exc_type, (KeyboardInterrupt, SystemExit)):
        signal.setitimer(signal.ITIMER_REAL, _SOON)
    else:
        sys.__unraisablehook__(lost)


def _stop_listening() -> None:
    """For the end of the process, in which nothing is left to remove."""
    if ended_by:
        _end_lines()
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)
    # CPython remembers an interrupt within exec(), which dataclasses use, until the next one: with -m it would end the
    # process by the signal, in the place of our exit code
    with suppress(MemoryError):  # which may be the reason for the end
        exec("")
    if signal.getsignal(signal.SIGINT) is interrupt:
        # Python still waits for threads, and then has no handlers any more: the system's would hide the exit code
        signal.signal(signal.SIGINT, lambda number, _: os._exit(128 + number))
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)


def _end_lines() -> None:
    """Leaves the terminal's cursor in a new line, and nothing to print, which would fail where the terminal is gone."""
    try:
        if signal.SIGINT in ended_by and sys.stderr.isatty():
            print(file=sys.stderr)
        sys.stdout.flush()
    except (AttributeError, OSError, ValueError):  # a stream that is closed, or none
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115

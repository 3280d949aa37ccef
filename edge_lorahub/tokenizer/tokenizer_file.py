"""Loading `tokenizer.json`: whatever is wrong with it is one error, also where the Rust library panics."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tokenizers import Tokenizer

from ..errors import EdgeLorahubError
from ..files.reading import open_file
from .tokenizer_parts import check_parts

# Standard error is the process's: two threads must not set it aside at once, and no process forked meanwhile.
_standard_error = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_standard_error.acquire, after_in_parent=_standard_error.release, after_in_child=_standard_error.release
    )
# The tokenizer of mT5, with a quarter of a million pieces, has 16 MB.
_LARGEST = 64 << 20
# Texts of which some show what a tokenizer lacks: characters that no vocabulary has, spaces alone, nothing.
_PROBES = ("a", "", "  a  b\n", "\U0010fffd \ue000 \u0378", "<extra_id_0>")


def load_tokenizer(path: Path, error: Callable[[str], EdgeLorahubError]) -> Tokenizer:
    """Reads a tokenizer file, and tries it on a few texts; what is wrong is raised as `error(message)`.

    It neither cuts nor pads texts, whatever the file says: that is the caller's, by the tokens that a model takes.
    """
    with open_file(path, error) as file:
        if os.fstat(file.fileno()).st_size > _LARGEST:
            raise error(f"{path}: larger than {_LARGEST >> 20} MB, which no tokenizer of this family is")
    with one_error(lambda reason: error(f"{path}: not a tokenizer file that can be used ({reason})")):
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        check_parts(tokenizer)
        tokenizer.encode_batch(list(_PROBES))
    return tokenizer


@contextmanager
def one_error(error: Callable[[str], EdgeLorahubError], *, panics_only: bool = False) -> Iterator[None]:
    """Turns exceptions of the block, panics of Rust among them, into `error(reason)`.

    A panic is a BaseException, and the library has printed a backtrace to the process's standard error by then; what
    is printed during the block is shown only if it passes.
    """
    with _held_back() as printed:
        try:
            yield
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as problem:  # a panic is one, and of no class that could be named
            if panics_only and type(problem).__name__ != "PanicException":
                raise
            printed.truncate(0)
            raise error(" ".join(str(problem).split())[:300] or type(problem).__name__) from None


@contextmanager
def _held_back() -> Iterator[IO[bytes]]:
    """Sends what is written to the process's standard error to a file, which is printed when the block ends."""
    with _standard_error, _file_in_memory() as printed:
        if sys.stderr is not None:
            sys.stderr.flush()
        try:
            kept = os.dup(2)
        except OSError:  # there is none
            yield printed
            return
        os.dup2(printed.fileno(), 2)
        try:
            yield printed
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            printed.seek(0)
            os.write(2, printed.read())


def _file_in_memory() -> IO[bytes]:
    """On Linux it takes microseconds; elsewhere it may lie on a disk."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("stderr"), "w+b", 0)
    return tempfile.TemporaryFile(buffering=0)

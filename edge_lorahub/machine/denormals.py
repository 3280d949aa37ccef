"""Numbers too small for float32's usual form, which processors compute a hundred times slower, as zero.

Of a masked score a softmax makes 4e-39, and the product after it multiplies with that. It is nothing beside the other
shares, so what comes of it is the same to the last bit, and attention takes half of the time on Intel's processors.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# ONNX Runtime's option for the threads of its own.
DENORMALS_OPTION = "session.set_denormal_as_zero"
# Of MXCSR (Intel's manual, volume 1, 10.2.3): results that are denormal become zero, and so do operands.
_FLUSH = 1 << 15 | 1 << 6


class _Environment(ctypes.Structure):
    """fenv_t of glibc on x86-64."""

    _fields_ = [("x87", ctypes.c_uint8 * 28), ("mxcsr", ctypes.c_uint32)]


def _library() -> Any:
    """The C library whose fenv_t this file knows; None elsewhere, where nothing is changed."""
    if sys.platform != "linux" or platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc":
        return None
    try:
        return ctypes.CDLL("libm.so.6")
    except OSError:
        return None


_LIBM = _library()


@contextmanager
def denormals_as_zero() -> Iterator[None]:
    """For this thread, within the block; what was before comes back behind it."""
    if _LIBM is None:
        yield
        return
    before, within = _Environment(), _Environment()
    _LIBM.fegetenv(ctypes.byref(before))
    ctypes.memmove(ctypes.byref(within), ctypes.byref(before), ctypes.sizeof(before))
    within.mxcsr |= _FLUSH
    try:
        _LIBM.fesetenv(ctypes.byref(within))
        yield
    finally:
        _LIBM.fesetenv(ctypes.byref(before))

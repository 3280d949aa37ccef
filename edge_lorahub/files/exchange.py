"""Two names exchanged in one step, where the system can: renameat2 on Linux."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

# <fcntl.h> and <stdio.h> of Linux
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
# An old kernel, a file system without it, and a container that forbids calls that it does not know.
_CANNOT = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM)


def exchange(first: Path, second: Path) -> bool:
    """Each of two files, folders or links gets the other's name. Nobody ever finds either name without one.

    False, and nothing has changed, where the system or the file system cannot. Raises OSError for everything else that
    hinders it, such as a name that is not there. Links are not followed.
    """
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:  # a C library from before 2018
        return False
    if not renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE):
        return True
    number = ctypes.get_errno()
    if number in _CANNOT:
        return False
    raise OSError(number, os.strerror(number), str(first), None, str(second))

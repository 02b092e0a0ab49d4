"""Locks that keep a second process off a file or a folder; the system lets go of them when their process ends."""

from __future__ import annotations

import errno
import os
import sys

_FAR = 1 << 62
"""Where a file is locked on Windows, which keeps readers from bytes that are locked: no file is so long."""
_HELD = {errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK}

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def try_lock(descriptor: int) -> bool:
    """Lock an open file (on POSIX also a folder) for as long as it stays open; return False where another has it.

    True also where the file system has no locks, as some shares: nothing can be told there.
    """
    try:
        _lock(descriptor)
    except OSError as error:
        return error.errno not in _HELD
    return True

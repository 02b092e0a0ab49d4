"""Locks that keep other processes off a file or a folder. The system releases them when their process ends."""

from __future__ import annotations

import errno
import os
import sys

_FAR = 1 << 62
"""The position of the byte that is locked on Windows. It lies beyond the end of every file, because Windows keeps other
processes from reading locked bytes.
"""
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
    """Lock an open file, on POSIX also a folder, for as long as it stays open. Do not wait for the lock.

    Args:
        descriptor: The descriptor of the open file or folder.

    Returns:
        False if another process holds the lock. True if it was locked, or if the file system has no locks, like some
        network shares.
    """
    try:
        _lock(descriptor)
    except OSError as error:
        return error.errno not in _HELD
    return True

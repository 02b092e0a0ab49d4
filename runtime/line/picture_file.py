"""Which contents of a file a picture was read from."""

from __future__ import annotations

import os

import msgspec


class PictureFile(msgspec.Struct, frozen=True):
    """What tells one picture's file from another under the same name.

    mtime_ns: when its contents were changed last, in ns since 1970; size: in bytes; inode: its number on its disk.
    """

    mtime_ns: int
    size: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> PictureFile:
        """Return what a file's status tells of it."""
        return cls(status.st_mtime_ns, status.st_size, status.st_ino)

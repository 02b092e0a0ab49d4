"""The identity of the file contents that a picture was read from."""

from __future__ import annotations

import os

import msgspec


class PictureFile(msgspec.Struct, frozen=True):
    """Values that tell a picture's file from another one under the same name.

    Attributes:
        mtime_ns: The time of the last change of its contents, in nanoseconds since 1970.
        size: Its size in bytes.
        inode: Its number in the file system.
    """

    mtime_ns: int
    size: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> PictureFile:
        """Return the identity of a file.

        Args:
            status: The file's status, from stat.
        """
        return cls(status.st_mtime_ns, status.st_size, status.st_ino)

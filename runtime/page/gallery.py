"""The saved rejects (line/outputs/rejects.py), read for the page. The files in the folder are not trusted."""

from __future__ import annotations

import functools
import os
import stat
import threading
from pathlib import Path
from typing import Any

import msgspec
from PIL import Image

from ..core.errors import GoodpartsError
from ..core.preprocess import decode
from ..line.outputs.reject_index import FRAME_ENDING, OVERLAY_ENDING, RECORD_ENDING, REJECT_FILE, RejectIndex, is_review
from ..line.smoothing import Decision
from .recent_frames import to_jpeg

SHOWN = 48
"""The most rejects in one listing."""
THUMBNAIL = 320
"""The longest side of a thumbnail, in pixels."""
_LARGEST = 64_000_000
"""The size of the largest file that is read, in bytes."""


class _Record(msgspec.Struct):
    """The part of a reject's record that the page shows; all other fields are ignored.

    In records of old versions `score` is the raw score and `raw_score` is missing. Such a record does not decode, and
    its reject is shown without a score.
    """

    source: str
    time: str
    frame: int
    score: float
    raw_score: float
    verdict: str = ""
    path: str = ""


class Gallery:
    """The saved rejects of a line, each by its name TIME_SOURCE_NUMBER.

    A name of another form has no files here, so a request cannot name a path outside the folder. A reject's files never
    change, so the records and thumbnails of the last ones are kept in memory.

    Args:
        index: The index of the rejects in the folder.
    """

    def __init__(self, index: RejectIndex) -> None:
        self._index, self._folder = index, index.folder
        self._drawing = threading.Lock()  # one at a time: a photo may be large
        self._describe = functools.lru_cache(512)(self._describe_anew)
        self._shrink = functools.lru_cache(256)(self._shrink_anew)

    def names(self) -> list[str]:
        """Return the names of the complete rejects, newest first."""
        return self._index.names()[::-1]

    def summary(self) -> dict[str, Any]:
        """Return the number of rejects (total), the number of those to review (reviews), and the newest's name.

        The name is empty if there is no reject.
        """
        total, newest = self._index.count_and_newest()
        return {"total": total, "reviews": self._index.count_reviews(), "newest": newest}

    def listing(self, before: str, decision: Decision | None = None) -> dict[str, Any]:
        """Return one page of the list of rejects, newest first.

        Args:
            before: The name of a reject. The page begins with the newest reject that is older than this one; if the
                name is empty, with the newest of all.
            decision: "review" or "reject" for only these; None for both.

        Returns:
            The number of all rejects (total), the rejects of this page (rejects), and whether there are older ones
            (more).
        """
        names, more = self._index.before(before, SHOWN, decision)
        return {
            "total": self._index.count_and_newest()[0],
            "rejects": [{"name": name, "review": is_review(name)} | self._describe(name) for name in names],
            "more": more,
        }

    def source(self, name: str) -> str | None:
        """Return the name of the source of a reject.

        Args:
            name: The reject's name.

        Returns:
            The source's name; None if `name` is not the name of a reject.
        """
        match = REJECT_FILE.fullmatch(name + FRAME_ENDING)
        return None if match is None else match["source"]

    def photo(self, name: str) -> bytes | None:
        """Return the frame of a reject as a PNG file.

        Args:
            name: The reject's name.

        Returns:
            The file's bytes; None if there is no such file.
        """
        return self._read(name + FRAME_ENDING)

    def overlay(self, name: str) -> bytes | None:
        """Return the frame of a reject with its heat-map, as a PNG file.

        Args:
            name: The reject's name.

        Returns:
            The file's bytes; None if there is no such file.
        """
        return self._read(name + OVERLAY_ENDING)

    def thumbnail(self, name: str) -> bytes | None:
        """Return the overlay of a reject as a small JPEG file.

        Args:
            name: The reject's name.

        Returns:
            The file's bytes; None if there is no overlay or it is damaged.
        """
        with self._drawing:
            return self._shrink(name)

    def _describe_anew(self, name: str) -> dict[str, Any]:
        """Return the fields of a reject's record, with only the name of its picture's file instead of the path."""
        try:
            record = msgspec.json.decode(self._read(name + RECORD_ENDING) or b"", type=_Record)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return {}
        fields = msgspec.structs.asdict(record)
        return fields | {"file": Path(fields.pop("path")).name}

    def _shrink_anew(self, name: str) -> bytes | None:
        data = self.overlay(name)
        if data is None:
            return None
        try:
            picture = Image.fromarray(decode(data, name))
        except GoodpartsError:
            return None
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        return to_jpeg(picture)

    def _read(self, file: str) -> bytes | None:
        """Return the bytes of a regular file in the folder; None for a link, a device, or a file that is too large."""
        if not REJECT_FILE.fullmatch(file):
            return None
        try:
            with open(self._folder / file, "rb", opener=_open_no_link) as opened:
                status = os.fstat(opened.fileno())
                return opened.read() if stat.S_ISREG(status.st_mode) and status.st_size <= _LARGEST else None
        except OSError:
            return None


def _open_no_link(path: str, flags: int) -> int:
    """Open a file without following a link and without waiting for a pipe's other end."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))

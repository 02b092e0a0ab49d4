"""The saved rejects (line/outputs/rejects.py), read for the page. What is in the folder is not trusted."""

from __future__ import annotations

import functools
import os
import stat
import threading
from typing import Any

import msgspec
from PIL import Image

from ..core.errors import GoodpartsError
from ..core.preprocess import decode
from ..line.outputs.reject_index import FRAME_ENDING, OVERLAY_ENDING, RECORD_ENDING, REJECT_FILE, RejectIndex, is_review
from ..line.smoothing import Decision
from .recent_frames import to_jpeg

SHOWN = 48
"""Rejects in a list."""
THUMBNAIL = 320
"""Longest side, in pixels."""
_LARGEST = 64_000_000
"""Bytes of a file that is read."""


class _Record(msgspec.Struct):
    """What the page shows of a reject's record; everything else in it is passed over.

    raw_score: lacking in records of old versions, whose score was the raw one, and which are shown without a score.
    """

    source: str
    time: str
    frame: int
    score: float
    raw_score: float
    verdict: str = ""


class Gallery:
    """The rejects that an index names: TIME_SOURCE_NUMBER. Under any other name there is nothing, so that no path can
    be asked for.

    A reject's files never change, so what was read or drawn of the last ones is kept.
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
        """Return how many rejects there are, how many of them are to be reviewed, and the name of the newest.

        The name is empty where there is none.
        """
        total, newest = self._index.count_and_newest()
        return {"total": total, "reviews": self._index.count_reviews(), "newest": newest}

    def listing(self, before: str, decision: Decision | None = None) -> dict[str, Any]:
        """Return SHOWN rejects: the newest that come before the name `before`, or the newest of all.

        decision: "review" or "reject" for only these, None for both.
        """
        names, more = self._index.before(before, SHOWN, decision)
        return {
            "total": self._index.count_and_newest()[0],
            "rejects": [{"name": name, "review": is_review(name)} | self._describe(name) for name in names],
            "more": more,
        }

    def source(self, name: str) -> str | None:
        """Return the source that a reject is of; None for what is no name of one."""
        match = REJECT_FILE.fullmatch(name + FRAME_ENDING)
        return None if match is None else match["source"]

    def photo(self, name: str) -> bytes | None:
        """Return the photo as PNG; None when there is none."""
        return self._read(name + FRAME_ENDING)

    def overlay(self, name: str) -> bytes | None:
        """Return the photo with its heat-map, as PNG; None when there is none."""
        return self._read(name + OVERLAY_ENDING)

    def thumbnail(self, name: str) -> bytes | None:
        """Return the overlay as a small JPEG; None when there is none."""
        with self._drawing:
            return self._shrink(name)

    def _describe_anew(self, name: str) -> dict[str, Any]:
        try:
            return msgspec.structs.asdict(msgspec.json.decode(self._read(name + RECORD_ENDING) or b"", type=_Record))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return {}

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
        """Return the bytes of a file in the folder itself: through no link, from no device."""
        if not REJECT_FILE.fullmatch(file):
            return None
        try:
            with open(self._folder / file, "rb", opener=_open_no_link) as opened:
                status = os.fstat(opened.fileno())
                return opened.read() if stat.S_ISREG(status.st_mode) and status.st_size <= _LARGEST else None
        except OSError:
            return None


def _open_no_link(path: str, flags: int) -> int:
    """Open a file, but not through a link; a pipe does not hold it up."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))

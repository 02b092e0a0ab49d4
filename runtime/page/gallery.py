"""The saved rejects (line/rejects.py), read for the page. What is in the folder is not trusted."""

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
from ..line.outputs.rejects import OURS
from .recent import to_jpeg

SHOWN = 48
"""Rejects in a list."""
THUMBNAIL = 320
"""Longest side, in pixels."""
FRAME = ".frame.png"
"""Behind its name, what the photo of a reject is called."""
_LARGEST = 64_000_000
"""Bytes of a file that is read."""


class _Record(msgspec.Struct):
    """What the page says of a reject; everything else in its JSON is passed over."""

    source: str
    time: str
    frame: int
    score: float
    threshold: float


class Gallery:
    """Rejects in a folder. Names are of the kind that rejects.py gives, or there is nothing: no path can be asked for.

    A reject's files never change, so what was read or drawn of the last ones is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._drawing = threading.Lock()  # one at a time: a photo may be large
        self._describe = functools.lru_cache(512)(self._describe_anew)
        self._shrink = functools.lru_cache(256)(self._shrink_anew)

    def names(self) -> list[str]:
        """The rejects that are complete, newest first: TIME_SOURCE_NUMBER."""
        try:
            with os.scandir(self.folder) as entries:
                found = {entry.name for entry in entries if OURS.fullmatch(entry.name)}
        except OSError:
            return []
        return sorted((name.removesuffix(".json") for name in found if name.endswith(".json")), reverse=True)

    def listing(self, before: str) -> dict[str, Any]:
        """SHOWN of them, the newest that come before the name `before`, or the newest of all."""
        names = self.names()
        older = [name for name in names if not before or name < before]
        return {
            "total": len(names),
            "rejects": [{"name": name} | self._describe(name) for name in older[:SHOWN]],
            "more": len(older) > SHOWN,
        }

    def source(self, name: str) -> str | None:
        """The source that a reject is of; None for what is no name of one."""
        found = OURS.fullmatch(name + FRAME)
        return None if found is None else found["source"]

    def photo(self, name: str) -> bytes | None:
        """The photo as PNG; None when there is none."""
        return self._read(name + FRAME)

    def overlay(self, name: str) -> bytes | None:
        """With its heat-map, as PNG."""
        return self._read(f"{name}.map.png")

    def thumbnail(self, name: str) -> bytes | None:
        """`overlay` as a small JPEG."""
        with self._drawing:
            return self._shrink(name)

    def _describe_anew(self, name: str) -> dict[str, Any]:
        try:
            return msgspec.structs.asdict(msgspec.json.decode(self._read(f"{name}.json") or b"", type=_Record))
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
        """The bytes of a file in the folder itself: through no link, from no device."""
        if not OURS.fullmatch(file):
            return None
        try:
            with open(self.folder / file, "rb", opener=_open_itself) as opened:
                status = os.fstat(opened.fileno())
                return opened.read() if stat.S_ISREG(status.st_mode) and status.st_size <= _LARGEST else None
        except OSError:
            return None


def _open_itself(path: str, flags: int) -> int:
    """Open the file that has this name and no other; a pipe does not hold up."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))

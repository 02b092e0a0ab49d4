"""The output that keeps frames and heat-maps of rejects and parts to review in a folder of limited size."""

from __future__ import annotations

import io
import os
import re
from collections import deque
from pathlib import Path

from PIL import Image

from ...core.errors import FileError
from ...core.files import write_atomic, writing
from ...core.locks import try_lock
from ...overlay import draw_overlay, to_png
from ..results import Result
from ..smoothing import Decision
from .reject_index import FRAME_ENDING, OVERLAY_ENDING, RECORD_ENDING, REJECT_FILE, REVIEW_MARK, RejectIndex

_PART_FILE = re.compile(rf"\.{REJECT_FILE.pattern}\.[0-9a-f]+\.part")
"""The pattern of temporary names of a reject's files, as files.write_atomic makes them."""
_COMPRESSION = 1
"""The compression level of PNG: fast, at the price of larger files."""


def find_frames(folder: Path, source: str | None = None) -> list[Path]:
    """Return the files of the frames that Rejects has kept in a folder, oldest first.

    Args:
        folder: The folder, which need not exist.
        source: The name of a source, to return only its frames; None for those of all sources.
    """
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    matches = [(path, REJECT_FILE.fullmatch(path.name)) for path in paths]
    return [
        path
        for path, match in matches
        if match is not None and match["ending"] == FRAME_ENDING and source in (None, match["source"])
    ]


class Rejects:
    """Writes frame, overlay and record of each reject. To stay within the limit, it removes the oldest rejects.

    A part to review is kept like a reject, and marked in its name.

    Args:
        folder: The folder. It is made if it does not exist; the folder that is to hold it must exist.
        limit: The most bytes of all files of rejects, those of earlier runs included. Other files do not count and are
            never removed.

    Attributes:
        index: The names of the rejects in the folder.

    Raises:
        FileError: The folder cannot be written, or another process keeps its rejects in it.
    """

    name = "rejects"
    depth = 16  # few, because they hold pictures

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit
        with writing(folder):
            folder.mkdir(exist_ok=True)
            self._lock = _lock_folder(folder)
            _remove_incomplete(folder)
            paths = sorted(path for path in folder.iterdir() if REJECT_FILE.fullmatch(path.name))
            self._kept = deque((path, path.stat().st_size) for path in paths)
        self._bytes = sum(size for _, size in self._kept)
        self.index = RejectIndex(folder)
        with self.index.changing():
            self._make_room(0)

    def wants(self, result: Result) -> bool:
        return result.decision in ("review", "reject")

    def send(self, result: Result) -> None:
        assert result.pixels is not None
        assert result.inspection is not None
        time = re.sub(r"[-:.]", "", result.record["time"])
        decision: Decision = "review" if result.decision == "review" else "reject"
        stem = f"{time}_{result.source}_{result.record['frame']}{REVIEW_MARK if decision == 'review' else ''}"
        overlay = draw_overlay(result.pixels, result.inspection, decision=decision)
        files = {
            stem + FRAME_ENDING: photo_png(Image.fromarray(result.pixels)),
            stem + OVERLAY_ENDING: to_png(overlay, _COMPRESSION),
            stem + RECORD_ENDING: result.line,
        }
        with self.index.changing(), writing(self._folder):
            self._folder.mkdir(exist_ok=True)  # somebody may have removed it to make room
            self._make_room(sum(map(len, files.values())))
            for name, data in files.items():
                path = self._folder / name
                is_new = not path.exists()  # an earlier, failed delivery may have written it
                write_atomic(path, data)
                if is_new:
                    self._kept.append((path, len(data)))
                    self._bytes += len(data)
            self.index.add(stem)

    def reopen(self) -> None:
        """Do nothing: no file stays open."""

    def close(self) -> None:
        """Unlock the folder."""
        os.close(self._lock)

    def _make_room(self, size: int) -> None:
        """Remove whole rejects, oldest first, until there is room for `size` bytes."""
        removed = None
        while self._kept and (self._bytes + size > self._limit or _reject_name(self._kept[0][0]) == removed):
            path, path_size = self._kept.popleft()
            with writing(path):
                path.unlink(missing_ok=True)
            self._bytes -= path_size
            removed = _reject_name(path)
            self.index.remove(removed)


def _remove_incomplete(folder: Path) -> None:
    """Remove the remains of a run that was killed: temporary files, and rejects that lack one of their three files."""
    files_of: dict[str, list[Path]] = {}
    for path in folder.iterdir():
        if _PART_FILE.fullmatch(path.name):
            path.unlink()
        elif REJECT_FILE.fullmatch(path.name):
            files_of.setdefault(_reject_name(path), []).append(path)
    for files in files_of.values():
        if len(files) < 3:
            for path in files:
                path.unlink()


def _reject_name(path: Path) -> str:
    """Return the name of the reject to which a file belongs."""
    match = REJECT_FILE.fullmatch(path.name)
    assert match is not None
    return match["reject"]


def _lock_folder(folder: Path) -> int:
    """Return a file descriptor that locks a folder while it is open; raise FileError if another process locks it."""
    is_posix = os.name == "posix"
    target = folder if is_posix else folder / ".lock"  # only POSIX systems can open a folder
    descriptor = os.open(target, os.O_RDONLY if is_posix else os.O_RDWR | os.O_CREAT)
    if not try_lock(descriptor):
        os.close(descriptor)
        raise FileError(f"another goodparts writes its rejects into {folder}: give each line a folder of its own")
    return descriptor


def photo_png(picture: Image.Image) -> bytes:
    """Return a picture as a PNG file with little compression, which is fast.

    Args:
        picture: The picture to encode, in RGB.
    """
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=_COMPRESSION)
    return buffer.getvalue()

"""Frames of parts that are rejected or to be reviewed, kept in a folder with their heat-maps, within a disk limit."""

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
"""Temporary names of a reject's files: see files.write_atomic."""
_COMPRESSION = 1
"""The compression level of PNG: the files are large, but quickly written."""


def find_frames(folder: Path, source: str | None = None) -> list[Path]:
    """Return the frames that Rejects has kept in a folder, oldest first; none if it is no folder.

    source: of only this source; None for those of all.
    """
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    matches = [(path, REJECT_FILE.fullmatch(path.name)) for path in paths]
    return [
        path
        for path, match in matches
        if match is not None and match["ending"] == FRAME_ENDING and source in (None, match["source"])
    ]


class Rejects:
    """Writes frame, overlay and record of each reject; beyond the limit the oldest rejects are removed first.

    A part that is to be reviewed is kept as a reject is, and marked in its name.

    folder: made if it is not there; limit: bytes that the files this class has written, in this run or before, take
    together. Other files are left alone. index: the names of the rejects in the folder.

    Raises FileError where the folder cannot be written, and where another process keeps its rejects in it.
    """

    name = "rejects"
    depth = 16  # pictures

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
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
                is_new = not path.exists()  # a try that failed half-way may have written it
                write_atomic(path, data)
                if is_new:
                    self._kept.append((path, len(data)))
                    self._bytes += len(data)
            self.index.add(stem)

    def reopen(self) -> None:
        """Do nothing: no file is kept open."""

    def close(self) -> None:
        """Let go of the folder; every file is complete already."""
        os.close(self._lock)

    def _make_room(self, size: int) -> None:
        """Remove whole rejects, oldest first, until `size` bytes more are within the limit."""
        removed = None
        while self._kept and (self._bytes + size > self._limit or _reject_name(self._kept[0][0]) == removed):
            path, path_size = self._kept.popleft()
            with writing(path):
                path.unlink(missing_ok=True)
            self._bytes -= path_size
            removed = _reject_name(path)
            self.index.remove(removed)


def _remove_incomplete(folder: Path) -> None:
    """Remove what a run that was killed had begun: temporary files, and rejects that lack one of their three files."""
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
    """Return what the names of a reject's three files have in common."""
    match = REJECT_FILE.fullmatch(path.name)
    assert match is not None
    return match["reject"]


def _lock_folder(folder: Path) -> int:
    """Return a descriptor that locks a folder while it is open. Raises FileError where another process has it."""
    is_posix = os.name == "posix"
    target = folder if is_posix else folder / ".lock"  # only POSIX opens folders
    descriptor = os.open(target, os.O_RDONLY if is_posix else os.O_RDWR | os.O_CREAT)
    if not try_lock(descriptor):
        os.close(descriptor)
        raise FileError(f"another goodparts writes its rejects into {folder}: give each line a folder of its own")
    return descriptor


def photo_png(picture: Image.Image) -> bytes:
    """Return a photo as PNG, compressed little: large, but soon done."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=_COMPRESSION)
    return buffer.getvalue()

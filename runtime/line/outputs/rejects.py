"""Rejected frames kept in a folder, with their heat-maps, within a limit for the disk."""

from __future__ import annotations

import io
import re
from collections import deque
from pathlib import Path

from PIL import Image

from ...core.files import write_atomic, writing
from ...overlay import draw_overlay
from ..results import Result

FRAME_ENDING, OVERLAY_ENDING, RECORD_ENDING = ".frame.png", ".map.png", ".json"
"""What the names of a reject's three files end with."""
REJECT_FILE = re.compile(
    r"(?P<reject>\d{8}T\d{9}Z_(?P<source>[A-Za-z0-9_.-]+)_\d+)(?P<ending>\.frame\.png|\.map\.png|\.json)"
)
"""Names of the files that this module writes: TIME_SOURCE_NUMBER, which names the reject, and an ending."""
_PART_FILE = re.compile(rf"\.{REJECT_FILE.pattern}\.[0-9a-f]+\.part")
"""Their temporary names: see files.write_atomic."""


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

    folder: made if it is not there; limit: bytes that the files this class has written, in this run or before, take
    together. Other files are left alone.
    """

    name = "rejects"
    depth = 16  # pictures

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            _remove_incomplete(folder)
            paths = sorted(path for path in folder.iterdir() if REJECT_FILE.fullmatch(path.name))
            self._kept = deque((path, path.stat().st_size) for path in paths)
        self._bytes = sum(size for _, size in self._kept)
        self._make_room(0)

    def wants(self, result: Result) -> bool:
        return result.decision == "reject"

    def send(self, result: Result) -> None:
        assert result.pixels is not None
        assert result.inspection is not None
        time = re.sub(r"[-:.]", "", result.record["time"])
        stem = f"{time}_{result.source}_{result.record['frame']}"
        files = {
            stem + FRAME_ENDING: to_png(Image.fromarray(result.pixels)),
            stem + OVERLAY_ENDING: to_png(draw_overlay(result.pixels, result.inspection)),
            stem + RECORD_ENDING: result.line,
        }
        self._make_room(sum(map(len, files.values())))
        for name, data in files.items():
            path = self._folder / name
            is_new = not path.exists()  # a try that failed half-way may have written it
            write_atomic(path, data)
            if is_new:
                self._kept.append((path, len(data)))
                self._bytes += len(data)

    def close(self) -> None:
        """Every file is complete already."""

    def _make_room(self, size: int) -> None:
        """Remove whole rejects, oldest first, until `size` bytes more are within the limit."""
        removed = None
        while self._kept and (self._bytes + size > self._limit or _reject_name(self._kept[0][0]) == removed):
            path, path_size = self._kept.popleft()
            with writing(path):
                path.unlink(missing_ok=True)
            self._bytes -= path_size
            removed = _reject_name(path)


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


def to_png(picture: Image.Image) -> bytes:
    """Return a picture as PNG, compressed little: large, but soon done."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()

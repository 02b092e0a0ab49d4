"""Rejected frames kept in a folder, with their heat-maps, within a limit for the disk."""

from __future__ import annotations

import io
import re
from collections import deque
from pathlib import Path

from PIL import Image

from ...core.files import write_atomic, writing
from ...overlay import draw_overlay
from .outlet import Result

OURS = re.compile(r"\d{8}T\d{9}Z_(?P<source>[A-Za-z0-9_.-]+)_\d+\.(?P<kind>frame\.png|map\.png|json)")
"""Names of the files that this module writes."""


def frames(folder: Path, source: str | None = None) -> list[Path]:
    """The frames that Rejects has kept in a folder, of one source or of all, oldest first; none if it is no folder."""
    found = [(path, OURS.fullmatch(path.name)) for path in sorted(folder.iterdir())] if folder.is_dir() else []
    return [
        path
        for path, ours in found
        if ours is not None and ours["kind"] == "frame.png" and source in (None, ours["source"])
    ]


_PART = re.compile(rf"\.{OURS.pattern}\.[0-9a-f]+\.part")
"""Their temporary names: see files.write_atomic."""


class Rejects:
    """Writes TIME_SOURCE_NUMBER.frame.png, .map.png and .json of each reject; beyond the limit the oldest go first.

    limit: bytes that the files this class has written, in this run or before, take together. Others are left alone.
    """

    name = "rejects"
    depth = 16  # pictures

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            _remove_halves(folder)
            ours = sorted(path for path in folder.iterdir() if OURS.fullmatch(path.name))
            self._kept = deque((path, path.stat().st_size) for path in ours)
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
            f"{stem}.frame.png": to_png(Image.fromarray(result.pixels)),
            f"{stem}.map.png": to_png(draw_overlay(result.pixels, result.inspection)),
            f"{stem}.json": result.line,
        }
        self._make_room(sum(map(len, files.values())))
        for name, data in files.items():
            path = self._folder / name
            known = path.exists()  # of a try that failed half-way
            write_atomic(path, data)
            if not known:
                self._kept.append((path, len(data)))
                self._bytes += len(data)

    def close(self) -> None:
        """Every file is complete already."""

    def _make_room(self, size: int) -> None:
        gone = None
        while self._kept and (self._bytes + size > self._limit or _reject(self._kept[0][0]) == gone):
            path, old = self._kept.popleft()
            with writing(path):
                path.unlink(missing_ok=True)
            self._bytes -= old
            gone = _reject(path)


def _remove_halves(folder: Path) -> None:
    """Remove what a run that was killed had begun: temporary files, and rejects that lack one of their three files."""
    found: dict[str, list[Path]] = {}
    for path in folder.iterdir():
        if _PART.fullmatch(path.name):
            path.unlink()
        elif OURS.fullmatch(path.name):
            found.setdefault(_reject(path), []).append(path)
    for files in found.values():
        if len(files) < 3:
            for path in files:
                path.unlink()


def _reject(path: Path) -> str:
    """What the three files of one reject have in common."""
    return OURS.sub(lambda found: found[0].removesuffix(f".{found['kind']}"), path.name)


def to_png(picture: Image.Image) -> bytes:
    """Large and soon done."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()

"""Which pictures have a line already, in a file of JSON lines and in those that it was rotated into."""

from __future__ import annotations

import contextlib
import datetime
import gzip
import os
import re
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from ...core.errors import FileError
from ..picture_file import PictureFile


class Inspected(NamedTuple):
    """When a picture was last taken, in seconds since 1970, and the file that it was; None in lines of old versions."""

    time: float
    file: PictureFile | None

    def covers(self, status: os.stat_result) -> bool:
        """Return whether a file of the picture's name is the one that was inspected, by its status now."""
        if self.file is not None:
            return self.file == PictureFile.of(status)
        return self.time * 1e9 >= status.st_mtime_ns


class _Line(msgspec.Struct):
    """What is read of a line; everything else in it is passed over."""

    source: str
    time: datetime.datetime
    path: str | None = None
    file: PictureFile | None = None


def read_inspected(path: Path, source: str) -> dict[str, Inspected]:
    """Return the pictures of a source that have a line in a file of JSON lines, or in one that it was rotated into.

    Rotated files lie beside it: results.jsonl.1, results.jsonl-20260102, results-20260102.jsonl, each perhaps with .gz.
    Where there is no such file, there are no pictures. Anything but such a line, as half a line at the end, is passed
    over. Raises FileError for a file that cannot be read.
    """
    inspected: dict[str, Inspected] = {}
    decoder = msgspec.json.Decoder(_Line)
    for file in [*_find_rotated(path), *([path] if path.is_file() else [])]:
        for line in _read_lines(file):
            with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
                record = decoder.decode(line)
                if record.source == source and record.path is not None:
                    inspected[record.path] = Inspected(record.time.timestamp(), record.file)
    return inspected


def _find_rotated(path: Path) -> list[Path]:
    """Return the files that a file of JSON lines was rotated into, those changed last at the end."""
    stem, suffix = re.escape(path.stem), re.escape(path.suffix)
    rotated = re.compile(rf"(?:{stem}{suffix}[.-]\d[\d.T:_-]*|{stem}[.-]\d[\d.T:_-]*{suffix})(?:\.gz)?")
    try:
        files = [file for file in path.parent.iterdir() if rotated.fullmatch(file.name) and file.is_file()]
        return sorted(files, key=lambda file: (file.stat().st_mtime_ns, file.name))
    except FileNotFoundError:
        return []  # the folder, or a file that was rotated on just now
    except OSError as error:
        raise _cannot_read(path.parent, error) from error


def _read_lines(file: Path) -> Iterable[bytes]:
    """Yield the lines of a file, compressed or not; what a compressed one lacks at its end is passed over."""
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
            yield from lines
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return
    except OSError as error:
        raise _cannot_read(file, error) from error


def _cannot_read(path: Path, error: OSError) -> FileError:
    return FileError(f"cannot read {path}: {error.strerror or error}; name a file that can be read")

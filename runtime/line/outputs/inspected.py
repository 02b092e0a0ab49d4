"""The pictures that were inspected before. They are read from a file of JSON lines and its rotated files."""

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
    """The last inspection of a picture.

    Attributes:
        time: When the picture arrived, in seconds since 1970.
        file: The identity of its file's contents; None in a line that an old version wrote.
    """

    time: float
    file: PictureFile | None

    def covers(self, status: os.stat_result) -> bool:
        """Return whether the file that has the picture's name now is the one that was inspected.

        Args:
            status: The file's status now, from stat.
        """
        if self.file is not None:
            return self.file == PictureFile.of(status)
        return self.time * 1e9 >= status.st_mtime_ns


class _Line(msgspec.Struct):
    """The fields that are read from a line; all others are ignored."""

    source: str
    time: datetime.datetime
    path: str | None = None
    file: PictureFile | None = None


def read_inspected(path: Path, source: str) -> dict[str, Inspected]:
    """Return the pictures of a source that have a line in a file of JSON lines or in one of its rotated files.

    Rotated files lie beside it, with names such as results.jsonl.1, results.jsonl-20260102 or results-20260102.jsonl,
    followed by .gz if they are compressed. A line that cannot be read, such as half a line at the end, is
    ignored.

    Args:
        path: The file of JSON lines, which need not exist.
        source: The name of the source.

    Returns:
        The last inspection of each picture, by the picture's path.

    Raises:
        FileError: A file cannot be read.
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
    """Return the rotated files of a file of JSON lines, in the order of their last change."""
    stem, suffix = re.escape(path.stem), re.escape(path.suffix)
    rotated = re.compile(rf"(?:{stem}{suffix}[.-]\d[\d.T:_-]*|{stem}[.-]\d[\d.T:_-]*{suffix})(?:\.gz)?")
    try:
        files = [file for file in path.parent.iterdir() if rotated.fullmatch(file.name) and file.is_file()]
        return sorted(files, key=lambda file: (file.stat().st_mtime_ns, file.name))
    except FileNotFoundError:
        return []  # the folder is missing, or a file was rotated again just now
    except OSError as error:
        raise _cannot_read(path.parent, error) from error


def _read_lines(file: Path) -> Iterable[bytes]:
    """Yield the lines of a file, compressed or not. If a compressed file is damaged, the lines before that are read."""
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
            yield from lines
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return
    except OSError as error:
        raise _cannot_read(file, error) from error


def _cannot_read(path: Path, error: OSError) -> FileError:
    return FileError(f"cannot read {path}: {error.strerror or error}; name a file that can be read")

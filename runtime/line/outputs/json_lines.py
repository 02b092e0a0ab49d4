"""Results as JSON lines, appended to a file or written to standard output."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import msgspec

from ...core.errors import FileError
from ...core.files import writing
from ..results import Result

_LONGEST = 1 << 20
"""Bytes that no line exceeds."""
_BEGIN = b'{"source":'
"""How every line begins: a tail that begins otherwise was written by something else."""


class JsonLines:
    """Appends to a file; a line is there whole or not at all, and survives the process."""

    name = "json"
    depth = 1024

    def __init__(self, path: Path) -> None:
        self._path = path
        with writing(path):
            self._file: BinaryIO = path.open("ab", buffering=0)
            self._cut_back()

    def wants(self, result: Result) -> bool:  # noqa: ARG002
        return True

    def send(self, result: Result) -> None:
        with writing(self._path):
            size = os.fstat(self._file.fileno()).st_size
            try:
                written = self._file.write(result.line)
                if written != len(result.line):
                    self._file.write(result.line[written:])  # raises what stopped the first, as a full disk does
            except BaseException:
                with contextlib.suppress(OSError):  # a device has nothing to cut
                    os.ftruncate(self._file.fileno(), size)
                raise

    def close(self) -> None:
        self._file.close()

    def _cut_back(self) -> None:
        """Remove the half line that a power cut may have left at the end."""
        size = self._path.stat().st_size
        if not self._path.is_file() or size == 0:
            return
        with self._path.open("rb") as file:
            file.seek(max(0, size - _LONGEST))
            tail = file.read().rpartition(b"\n")[2]
        if tail.startswith(_BEGIN) or _BEGIN.startswith(tail):
            os.ftruncate(self._file.fileno(), size - len(tail))


class _Line(msgspec.Struct):
    """What is read of a line; everything else in it is passed over."""

    source: str
    time: datetime.datetime
    path: str | None = None


def read_inspected(path: Path, source: str) -> dict[str, float]:
    """Return the pictures of a source in a file of JSON lines: path → when it was last taken, in seconds since 1970.

    Where there is no such file, there are none. Anything but such a line, as half a line at the end, is passed over.
    Raises FileError for a file that cannot be read.
    """
    if not path.is_file():
        return {}
    inspected = {}
    decoder = msgspec.json.Decoder(_Line)
    try:
        with path.open("rb") as file:
            for line in file:
                with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
                    record = decoder.decode(line)
                    if record.source == source and record.path is not None:
                        inspected[record.path] = record.time.timestamp()
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}; name a file that can be read") from error
    return inspected


class StandardOutput:
    """Writes to a stream that somebody reads. on_reader_gone: called when nobody does any more."""

    name = "json"
    depth = 1024

    def __init__(self, stream: BinaryIO, on_reader_gone: Callable[[], None]) -> None:
        self._stream, self._on_reader_gone = stream, on_reader_gone

    def wants(self, result: Result) -> bool:  # noqa: ARG002
        return True

    def send(self, result: Result) -> None:
        try:
            self._stream.write(result.line)
            self._stream.flush()
        except BrokenPipeError:
            self._on_reader_gone()
            raise

    def close(self) -> None:
        """Nothing is held back."""

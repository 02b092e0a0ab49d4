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
from .outlet import Result

_LONGEST = 1 << 20
"""Bytes; no line is longer."""
_BEGIN = b'{"source":'
"""Of every line: a tail that begins otherwise is somebody else's."""


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


class _Seen(msgspec.Struct):
    source: str
    time: datetime.datetime
    path: str | None = None


def read_inspected(path: Path, source: str) -> dict[str, float]:
    """The pictures of a source that a file of JSON lines tells of: path → when each was last taken, seconds since 1970.

    Nothing where there is no such file; what is no such line, as half a one at the end, is passed over.
    """
    if not path.is_file():
        return {}
    inspected = {}
    decoder = msgspec.json.Decoder(_Seen)
    try:
        with path.open("rb") as file:
            for line in file:
                with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
                    seen = decoder.decode(line)
                    if seen.source == source and seen.path is not None:
                        inspected[seen.path] = seen.time.timestamp()
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}; name a file that can be read") from error
    return inspected


class StandardOutput:
    """Writes to a stream that somebody reads; `gone` is called when nobody does any more."""

    name = "json"
    depth = 1024

    def __init__(self, stream: BinaryIO, gone: Callable[[], None]) -> None:
        self._stream, self._gone = stream, gone

    def wants(self, result: Result) -> bool:  # noqa: ARG002
        return True

    def send(self, result: Result) -> None:
        try:
            self._stream.write(result.line)
            self._stream.flush()
        except BrokenPipeError:
            self._gone()
            raise

    def close(self) -> None:
        """Nothing is held back."""

"""Results as JSON lines, appended to a file or written to standard output."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ...core.errors import FileError
from ...core.files import writing
from ...core.locks import try_lock
from ..results import Result

_LONGEST = 1 << 20
"""Bytes that no line exceeds."""
_BEGIN = b'{"source":'
"""How every line begins: a tail that begins otherwise was written by something else."""


class JsonLines:
    """Appends to a file; a line is there whole or not at all, and survives the process.

    A file that was renamed or removed, as when logs are rotated, is left, and one of its name is begun anew.

    Raises FileError where the file cannot be written, and where another process writes it.
    """

    name = "json"
    depth = 1024

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._is_ordinary = path.is_file() or not path.exists()  # neither a device nor a pipe
        with writing(path):
            self._file = self._open()

    def wants(self, result: Result) -> bool:  # noqa: ARG002
        return True

    def send(self, result: Result) -> None:
        with self._lock, writing(self._path):
            if self._is_ordinary and self._was_replaced():
                self._replace_file()
            size = os.fstat(self._file.fileno()).st_size
            try:
                written = self._file.write(result.line)
                if written != len(result.line):
                    self._file.write(result.line[written:])  # raises what stopped the first, as a full disk does
            except BaseException:
                with contextlib.suppress(OSError):  # a device has nothing to cut
                    os.ftruncate(self._file.fileno(), size)
                raise

    def reopen(self) -> None:
        if self._is_ordinary:
            with self._lock, writing(self._path):
                self._replace_file()

    def close(self) -> None:
        self._file.close()

    def _was_replaced(self) -> bool:
        """Return whether the name no longer stands for the open file."""
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return True
        return not os.path.samestat(there, os.fstat(self._file.fileno()))

    def _replace_file(self) -> None:
        """Open the file of this name; the one that was open stays in use if that fails."""
        if self._was_replaced():
            self._file, old = self._open(), self._file
            old.close()

    def _open(self) -> BinaryIO:
        file: BinaryIO = self._path.open("ab", buffering=0)
        try:
            if self._is_ordinary:
                if not try_lock(file.fileno()):
                    raise FileError(f"another goodparts writes {self._path}: give each line a file of its own")
                self._cut_back(file)
        except BaseException:
            file.close()
            raise
        return file

    def _cut_back(self, file: BinaryIO) -> None:
        """Remove the half line, or the zeros, that a power cut may have left at the end."""
        size = os.fstat(file.fileno()).st_size
        with self._path.open("rb") as reader:
            reader.seek(max(0, size - _LONGEST))
            tail = reader.read().rpartition(b"\n")[2]
        text = tail.rstrip(b"\0")
        if tail and (text.startswith(_BEGIN) or _BEGIN.startswith(text)):
            os.ftruncate(file.fileno(), size - len(tail))


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

    def reopen(self) -> None:
        """Do nothing: standard output stays what it is."""

    def close(self) -> None:
        """Do nothing: no line is held back."""

"""Outputs that write results as JSON lines to a file or to standard output."""

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
from ...core.outputs import require_kind
from ..results import Result

_LONGEST = 1 << 20
"""More bytes than any line has, so a tail of this length contains the last line."""
_BEGIN = b'{"source":'
"""The beginning of every line. A tail that begins otherwise was written by another program and is kept."""


class JsonLines:
    """Appends results to a file. A line is written whole or not at all, and it survives a crash of the process.

    If the file is renamed or removed, as when logs are rotated, the next line goes to a new file of the same name.

    Args:
        path: The file.

    Raises:
        FileError: The file cannot be written or holds something else, or another process writes to it.
    """

    name = "json"
    depth = 1024

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._is_ordinary = path.is_file() or not path.exists()  # neither a device nor a pipe
        if path.is_file():
            require_kind(path, "JSON lines")
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
                    self._file.write(result.line[written:])  # raises the reason, such as a full disk
            except BaseException:
                with contextlib.suppress(OSError):  # a device cannot be truncated
                    os.ftruncate(self._file.fileno(), size)
                raise

    def reopen(self) -> None:
        if self._is_ordinary:
            with self._lock, writing(self._path):
                self._replace_file()

    def close(self) -> None:
        self._file.close()

    def _was_replaced(self) -> bool:
        """Return whether the file of this name is no longer the open one."""
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return True
        return not os.path.samestat(there, os.fstat(self._file.fileno()))

    def _replace_file(self) -> None:
        """Open the file of this name anew; if that fails, the open file stays in use."""
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
        """Remove half a line or zeros at the end, which a power cut may have left."""
        size = os.fstat(file.fileno()).st_size
        with self._path.open("rb") as reader:
            reader.seek(max(0, size - _LONGEST))
            tail = reader.read().rpartition(b"\n")[2]
        text = tail.rstrip(b"\0")
        if tail and (text.startswith(_BEGIN) or _BEGIN.startswith(text)):
            os.ftruncate(file.fileno(), size - len(tail))


class StandardOutput:
    """Writes results to a stream that another process reads.

    Args:
        stream: The stream that the lines are written to, in binary mode.
        on_reader_gone: Called when that process no longer reads.
    """

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
        """Do nothing: standard output stays open."""

    def close(self) -> None:
        """Do nothing: no line is buffered."""

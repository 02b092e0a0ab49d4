"""Files: atomic writes, hashes, TOML, and file names as printable text."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import socket
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from .errors import FileError, SettingsError


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal.

    Args:
        path: The file.
    """
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: on failure `path` keeps what it held before.

    The data is written under a temporary name in the same folder, flushed to the disk, and renamed. So neither a full
    disk, nor a killed process, nor a second writer can leave half a file.

    Args:
        path: The file to write. Its folder must exist.
        data: The whole content.

    Raises:
        FileError: `path` is not a regular file, the folder is missing or not writable, or the disk is full.
    """
    if path.exists() and not path.is_file():
        raise FileError(f"cannot write {path}: it is not a regular file; name another")
    with staged(path) as part:
        part.write_bytes(data)


@contextlib.contextmanager
def staged(target: Path, ending: str = "") -> Iterator[Path]:
    """Yield a free path beside `target`. The file or folder that the block writes there then replaces `target`.

    When the block ends, the file or folder is flushed to the disk and renamed, and an older one is
    replaced. If the block raises, `target` stays as it was and the temporary file is removed.

    Args:
        target: The file or folder to replace. Its parent folder must exist.
        ending: The ending of the temporary name, for libraries that choose the format by it.

    Raises:
        FileError: The folder is missing or not writable, or the disk is full.
    """
    with writing(target), scratch(target, ending) as part:
        yield part
        for path in [part, *part.rglob("*")] if part.is_dir() else [part]:
            if path.is_file():
                sync_file(path)
        if target.is_dir():  # a folder cannot be renamed to the name of a folder that holds files
            with scratch(target) as old:
                target.rename(old)
                part.rename(target)
        else:
            part.replace(target)
        sync_folder(target.parent)


@contextlib.contextmanager
def scratch(target: Path, ending: str = "") -> Iterator[Path]:
    """Yield a free path beside `target`, on the same disk. A file or folder there is removed when the block ends.

    Args:
        target: The file or folder whose name the temporary name begins with.
        ending: The ending of the temporary name.
    """
    part = target.with_name(f".{target.name}.{_machine()}{os.getpid():08x}{secrets.token_hex(4)}.part{ending}")
    _in_use.add(part.name)
    try:
        yield part
    finally:
        _in_use.discard(part.name)
        _remove(part)


_in_use: set[str] = set()
"""The names that `scratch` has given out in this process and not yet released."""


def remove_orphans(target: Path) -> None:
    """Remove temporary files and folders of `target` (see scratch) that killed processes of this machine left behind.

    Args:
        target: The file or folder that they were writing.
    """
    _remove_orphans(target.parent, re.escape(target.name))


def remove_orphans_in(folder: Path) -> None:
    """Remove temporary files and folders (see scratch) that killed processes of this machine left in a folder.

    Args:
        folder: The folder, which need not exist.
    """
    _remove_orphans(folder, ".+")


def _remove_orphans(folder: Path, name: str) -> None:
    pattern = re.compile(rf"\.{name}\.{_machine()}([0-9a-f]{{8}})[0-9a-f]{{8}}\.part.*")
    with contextlib.suppress(OSError):
        for path in list(folder.iterdir()):
            match = pattern.fullmatch(path.name)
            if match and path.name not in _in_use and not _is_another_process(int(match[1], 16)):
                _remove(path)


def _machine() -> str:
    """Return eight hex digits that distinguish the machines that share a disk."""
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


def _is_another_process(pid: int) -> bool:
    """Return whether another running process has this number; True if the system cannot tell."""
    if pid == os.getpid():
        return False
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Flush a file to the disk.

    Args:
        path: The file.
    """
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Flush a folder to the disk, so that a rename in it survives a power cut. On Windows, do nothing.

    Args:
        folder: The folder whose entries are flushed.
    """
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


NO_DIGEST = "0" * 64
"""The placeholder for the digest, in data that is not sealed yet."""


def seal(data: bytes, mark: bytes) -> bytes:
    """Return data with its own SHA-256 filled in, so that `is_sealed` detects a change of any byte.

    Args:
        data: The data, which holds `mark` and directly behind it NO_DIGEST.
        mark: The bytes before the digest. Their first occurrence counts.

    Returns:
        The data with the SHA-256 of `data`, 64 hexadecimal digits, instead of NO_DIGEST.
    """
    return put(data, mark, hashlib.sha256(data).hexdigest())


def put(data: bytes, mark: bytes, value: str) -> bytes:
    """Return data with a value written directly behind a mark, over as many bytes as the value has.

    Args:
        data: The data, which holds `mark`.
        mark: The bytes before the value. Their first occurrence counts.
        value: The text to write.

    Returns:
        The changed data, as long as before.
    """
    start = data.index(mark) + len(mark)
    return data[:start] + value.encode() + data[start + len(value) :]


def is_sealed(data: bytes, mark: bytes, digest: str) -> bool:
    """Return whether data is unchanged since `seal` filled in its digest.

    Args:
        data: The sealed data.
        mark: The bytes before the digest.
        digest: The digest that was read from behind `mark`.
    """
    start = data.find(mark) + len(mark)
    view = memoryview(data)  # the data may have many megabytes, so it is not copied
    whole = hashlib.sha256(view[:start])
    whole.update(NO_DIGEST.encode())
    whole.update(view[start + len(NO_DIGEST) :])
    return whole.hexdigest() == digest


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into a FileError of one line that names the file.

    Args:
        path: The file that the block writes.

    Yields:
        Nothing.

    Raises:
        FileError: The block raised an OSError: the disk is full, the folder is missing, or the file cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None)):  # Windows has no quota error
            raise FileError(f"disk full while writing {path}: nothing was kept; free some space and retry") from error
        if isinstance(error, FileNotFoundError):
            raise FileError(f"cannot write {path}: folder {path.parent} does not exist; create it first") from error
        raise FileError(f"cannot write {path}: {error.strerror or error}; choose another place") from error


def require_folder_of(path: Path) -> None:
    """Check that `path` can be written as a file. Call this before slow work whose result goes there.

    Args:
        path: The file to be written later.

    Raises:
        FileError: The folder does not exist or is not writable, or `path` is not a regular file.
    """
    folder = path.absolute().parent
    if not folder.exists():
        raise FileError(f"cannot write {path}: folder {folder} does not exist; create it first")
    _require_writable(folder, path)
    if path.is_dir():
        raise FileError(f"cannot write {path}: it is a folder; name a file in it")
    if path.exists() and not path.is_file():
        raise FileError(f"cannot write {path}: it is not a regular file; name another")


def require_folder(folder: Path) -> None:
    """Check that files can be written into a folder. The folder need not exist, and it is not created.

    Args:
        folder: The folder to be written to later.

    Raises:
        FileError: The folder, or the nearest one above it that exists, is not writable.
    """
    nearest = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    _require_writable(nearest, folder)


def _require_writable(folder: Path, target: Path) -> None:
    """Raise FileError unless files can be created in `folder`; the message names `target`, which is to be written."""
    if not folder.is_dir():
        raise FileError(f"cannot write {target}: {folder} is a file, not a folder; choose another place")
    with writing(target), tempfile.TemporaryFile(dir=folder):
        pass


def read_bytes(path: Path) -> bytes:
    """Return all bytes of a file.

    Args:
        path: The file.

    Raises:
        FileError: The file is missing or unreadable.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


@contextlib.contextmanager
def reading(path: Path) -> Iterator[BinaryIO]:
    """Yield a file opened for reading, in binary mode.

    Args:
        path: The file.

    Raises:
        FileError: The file is missing or unreadable.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from error
    with file:
        yield file


def _unreadable(path: Path, error: OSError) -> FileError:
    return FileError(f"cannot read {printable(path)}: {error.strerror or error}; name a file that can be read")


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Args:
        path: The file.

    Returns:
        Its tables and values by name.

    Raises:
        FileError: The file cannot be read.
        SettingsError: The file is not valid TOML, or Python 3.10 lacks the package tomli.
    """
    try:
        tables: dict[str, Any] = msgspec.toml.decode(read_bytes(path))
    except ImportError as error:
        raise SettingsError(f"{path}: TOML needs tomli on Python 3.10: pip install tomli") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is no TOML: {error}") from error
    return tables


def printable(path: Path) -> str:
    """Return a path as text that can be written to every file and terminal.

    Args:
        path: The path. Bytes of its name that are not valid text are escaped with a backslash.
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def visible(text: str) -> str:
    """Return a text from outside as one line, with escapes instead of characters that could control a terminal.

    Args:
        text: Any text, such as a file name or the message of a library.
    """
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def cache_folder() -> Path:
    """Return goodparts' folder in this user's cache. Its files can all be made again. The folder is not created."""
    if sys.platform == "win32":
        cache = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "goodparts"

"""Files: atomic writes, hashes, TOML, and names that can be shown."""

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
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` so that `path` holds either what it held before or all of `data`.

    Written under a temporary name in the same folder, flushed to the disk, then renamed: neither a full
    disk, a kill nor a second writer can leave half a file.

    Raises FileError when the folder is missing or not writable, or the disk is full.
    """
    if path.exists() and not path.is_file():
        raise FileError(f"cannot write {path}: it is no ordinary file; name another")
    with staged(path) as part:
        part.write_bytes(data)


@contextlib.contextmanager
def staged(target: Path, ending: str = "") -> Iterator[Path]:
    """Yield a free path beside `target`, for a file or a folder that takes its place, whole, when the block ends.

    What the block wrote is flushed to the disk and renamed; an older file or folder is replaced. If the block raises,
    `target` stays as it was and nothing else remains. ending: of the temporary name, where a library goes by it.

    Raises FileError when the folder is missing or not writable, or the disk is full.
    """
    with writing(target), scratch(target, ending) as part:
        yield part
        for path in [part, *part.rglob("*")] if part.is_dir() else [part]:
            if path.is_file():
                sync_file(path)
        if target.is_dir():  # a folder cannot be renamed onto one that holds files
            with scratch(target) as old:
                target.rename(old)
                part.rename(target)
        else:
            part.replace(target)
        sync_folder(target.parent)


@contextlib.contextmanager
def scratch(target: Path, ending: str = "") -> Iterator[Path]:
    """Yield a free path beside `target`, on the same disk; whatever lies there when the block ends is removed."""
    part = target.with_name(f".{target.name}.{_machine()}{os.getpid():08x}{secrets.token_hex(4)}.part{ending}")
    _in_use.add(part.name)
    try:
        yield part
    finally:
        _in_use.discard(part.name)
        _remove(part)


_in_use: set[str] = set()
"""Names that `scratch` has given out in this process."""


def remove_orphans(target: Path) -> None:
    """Remove what processes of this machine that were killed left beside `target` (see scratch)."""
    _remove_orphans(target.parent, re.escape(target.name))


def remove_orphans_in(folder: Path) -> None:
    """Remove what processes of this machine that were killed left in a folder, whatever they were writing."""
    _remove_orphans(folder, ".+")


def _remove_orphans(folder: Path, name: str) -> None:
    pattern = re.compile(rf"\.{name}\.{_machine()}([0-9a-f]{{8}})[0-9a-f]{{8}}\.part.*")
    with contextlib.suppress(OSError):
        for path in list(folder.iterdir()):
            match = pattern.fullmatch(path.name)
            if match and path.name not in _in_use and not _is_another_process(int(match[1], 16)):
                _remove(path)


def _machine() -> str:
    """Return eight hex digits that tell machines that share a disk apart."""
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


def _is_another_process(pid: int) -> bool:
    """Return whether a process of this number runs and is not this one; True where the system cannot tell."""
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
    """Flush a file to the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, where the system can (Windows does it by itself)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


NO_DIGEST = "0" * 64


def seal(data: bytes, mark: bytes) -> bytes:
    """Put the SHA-256 of the whole where `mark` and 64 zeros stand, so that a change of any byte shows."""
    return put(data, mark, hashlib.sha256(data).hexdigest())


def put(data: bytes, mark: bytes, value: str) -> bytes:
    """Put `value` in the place of as many bytes behind `mark`."""
    start = data.index(mark) + len(mark)
    return data[:start] + value.encode() + data[start + len(value) :]


def is_sealed(data: bytes, mark: bytes, digest: str) -> bool:
    """Return whether `digest`, read from behind `mark`, is the one that `seal` put there."""
    start = data.find(mark) + len(mark)
    view = memoryview(data)  # megabytes: hashed in place, not copied
    whole = hashlib.sha256(view[:start])
    whole.update(NO_DIGEST.encode())
    whole.update(view[start + len(NO_DIGEST) :])
    return whole.hexdigest() == digest


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says while `path` is being written into one line."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None)):  # Windows knows no quota error
            raise FileError(f"disk full while writing {path}: nothing was kept; free some space and retry") from error
        if isinstance(error, FileNotFoundError):
            raise FileError(f"cannot write {path}: folder {path.parent} does not exist; create it first") from error
        raise FileError(f"cannot write {path}: {error.strerror or error}; choose another place") from error


def require_folder_of(path: Path) -> None:
    """Raise FileError unless `path` could be written as a file: asked before slow work whose result goes there."""
    folder = path.absolute().parent
    if not folder.exists():
        raise FileError(f"cannot write {path}: folder {folder} does not exist; create it first")
    _require_writable(folder, path)
    if path.is_dir():
        raise FileError(f"cannot write {path}: it is a folder; name a file in it")
    if path.exists() and not path.is_file():
        raise FileError(f"cannot write {path}: it is no ordinary file; name another")


def require_folder(folder: Path) -> None:
    """Raise FileError unless files could be written into a folder, which need not exist yet; nothing is made."""
    nearest = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    _require_writable(nearest, folder)


def _require_writable(folder: Path, target: Path) -> None:
    """Raise FileError unless `folder` is one that takes files; target: what is to be written, for the error."""
    if not folder.is_dir():
        raise FileError(f"cannot write {target}: {folder} is a file, not a folder; choose another place")
    with writing(target), tempfile.TemporaryFile(dir=folder):
        pass


def read_bytes(path: Path) -> bytes:
    """Return all bytes of a file; FileError in one line when it is missing or unreadable."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


@contextlib.contextmanager
def reading(path: Path) -> Iterator[BinaryIO]:
    """Yield a file opened for reading; raise FileError in one line when it is missing or unreadable."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from error
    with file:
        yield file


def _unreadable(path: Path, error: OSError) -> FileError:
    return FileError(f"cannot read {printable(path)}: {error.strerror or error}; name a file that can be read")


def read_toml(path: Path) -> dict[str, Any]:
    """Read the tables of a TOML file; FileError where it cannot be read, SettingsError where it is no TOML."""
    try:
        tables: dict[str, Any] = msgspec.toml.decode(read_bytes(path))
    except ImportError as error:
        raise SettingsError(f"{path}: TOML needs tomli on Python 3.10: pip install tomli") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is no TOML: {error}") from error
    return tables


def printable(path: Path) -> str:
    """Return a path as text that every file and terminal takes, whatever bytes its name has."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def visible(text: str) -> str:
    """Escape in a text from outside whatever would steer a terminal, and return it as one line."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def cache_folder() -> Path:
    """Return `goodparts` in the folder where this user's programs keep what can be made again; it is not made here."""
    if sys.platform == "win32":
        cache = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "goodparts"

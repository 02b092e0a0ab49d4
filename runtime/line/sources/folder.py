"""The watched folder, into which other software, such as a camera's, writes pictures."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ...core.errors import FileError, GoodpartsError, ImageError, SourceError, one_line
from ...core.files import printable, read_bytes
from ...core.image_files import is_drawing, is_image_name
from ...core.preprocess import decode
from ..outputs.inspected import Inspected
from ..picture_file import PictureFile
from .picture_bytes import count_trailing_zeros, require_end
from .source import Policy, SourceEvent, SourcePicture

POLL = 0.25
"""Seconds between two listings of the folder. Polling needs no library, and works where notifications do not, such
as on network shares."""
PATIENCE = 5.0
"""Seconds that a damaged file may stay unchanged before it is reported. Until then it may still be written."""
SETTLE = 0.25
"""Seconds that a file must stay unchanged to count as written, in formats whose half-written files do not decode."""
SETTLE_UNCHECKED = 2.0
"""The same for formats without checksum or end marker, whose half-written files do decode."""
_UNCHECKED_SUFFIXES = frozenset({".bmp", ".tif", ".tiff", ".webp"})
_MOST_ABSENT = 50_000
"""The most pictures that are remembered after they disappeared, in case a share is mounted again."""


class _State(NamedTuple):
    """Values that change when a file is written or replaced. changed_ns is its ctime in nanoseconds since 1970."""

    file: PictureFile
    changed_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> _State:
        return cls(PictureFile.of(status), status.st_ctime_ns)


@dataclass
class _Done:
    """A picture that was taken, with the digest of its bytes; None if they were not read."""

    state: _State
    digest: bytes | None = None


class WatchedFolder:
    """The pictures that appear in a folder from now on, oldest first, each once it is completely written.

    A file counts as written when it has not changed for `settle` seconds and can be decoded. The source ignores hidden
    files, files with other endings, drawings that goodparts made, and folders inside. A file that is overwritten or
    replaced is a new picture. A change of only its owner, rights or links does not make it one.

    Args:
        folder: The folder to watch, without its subfolders.
        inspected: The pictures that were inspected before, as inspected.read_inspected returns them. With it, files
            that are in the folder already are taken too, unless they were inspected and have not changed since. None
            takes no files that are in the folder already, and reports how many there are.
        settle: Seconds that a file must stay unchanged; None takes SETTLE, or SETTLE_UNCHECKED for formats without
            checksum or end marker.
        poll: Seconds between two listings of the folder.
        patience: Seconds that a damaged file may stay unchanged before it is reported.

    Raises:
        SourceError: The folder cannot be read.
    """

    default_policy: Policy = "every"

    def __init__(
        self,
        folder: Path,
        inspected: Mapping[str, Inspected] | None = None,
        *,
        settle: float | None = None,
        poll: float = POLL,
        patience: float = PATIENCE,
    ) -> None:
        self._folder, self._settle, self._poll, self._patience = folder, settle, poll, patience
        self._done: dict[str, _Done] = {}
        for name, status in self._look().items():
            known = None if inspected is None else inspected.get(printable(folder / name))
            if inspected is None or (known is not None and known.covers(status)):
                self._done[name] = _Done(_State.of(status))
        self._unreported = len(self._done) if inspected is None else 0
        self._pending: dict[str, tuple[_State, float]] = {}

    def pictures(self, stop: threading.Event, paced: bool) -> Iterator[SourcePicture | SourceEvent]:  # noqa: ARG002
        if self._unreported:
            pictures = "1 picture was" if self._unreported == 1 else f"{self._unreported} pictures were"
            self._unreported = 0
            yield SourceEvent(
                message=f"{pictures} in {printable(self._folder)} before the start and will not be inspected; "
                "backlog = true in a settings file inspects those too"
            )
        while not stop.is_set():
            for name in self._find_settled():
                if stop.is_set():
                    return
                yield from self._take(name)
            stop.wait(self._poll)

    def _find_settled(self) -> list[str]:
        """List the folder and return the new files that have not changed for long enough, oldest first."""
        present = {name: _State.of(status) for name, status in self._look().items()}
        self._forget_absent(present)
        now, before = time.monotonic(), self._pending
        self._pending = {}
        for name, state in present.items():
            done = self._done.get(name)
            if done is None or done.state != state:
                known = before.get(name)
                self._pending[name] = known if known is not None and known[0] == state else (state, now)
        settled = [
            name
            for name, (_, since) in self._pending.items()
            if self._pending[name] is before.get(name) and now - since >= self._settling_time(name)
        ]
        return sorted(settled, key=lambda name: (present[name].file.mtime_ns, name))

    def _take(self, name: str) -> Iterator[SourcePicture | SourceEvent]:
        """Yield a settled file's picture, or the reason why it has none; nothing if the file may still be written."""
        path = self._folder / name
        shown = printable(path)
        state, since = self._pending[name]
        error: GoodpartsError | None = None
        digest = None
        try:
            if is_drawing(path):
                self._mark_done(name, state, None)
                return
            data = read_bytes(path)
            if _State.of(path.stat()) != state:
                return  # it changed meanwhile and has to settle again
            digest = hashlib.blake2b(data, digest_size=16).digest()
            if self._is_same_picture(name, state, digest):
                self._mark_done(name, state, digest)
                return
            require_end(data, shown)
            pixels = decode(data, shown)
        except FileNotFoundError:
            return  # it disappeared again
        except (ImageError, FileError) as damage:
            if not path.exists() or time.monotonic() - since < self._patience:
                return  # it may not be completely written yet
            error = damage
        except Exception as other:  # no file may hold up later pictures
            error = ImageError(f"{shown} cannot be read: {one_line(other)}")
        self._mark_done(name, state, digest)
        if error is not None:
            yield SourcePicture(error, shown, state.file)
            return
        if zeros := count_trailing_zeros(data):
            yield SourceEvent(message=f"{shown} ends in {zeros} zeros: check that it was completely written, or set a "
                              f"longer settle than {self._settling_time(name):g} s")  # fmt: skip
        yield SourcePicture(pixels, shown, state.file)

    def _mark_done(self, name: str, state: _State, digest: bytes | None) -> None:
        self._done[name] = _Done(state, digest)
        del self._pending[name]

    def _is_same_picture(self, name: str, state: _State, digest: bytes) -> bool:
        """Return whether a file was taken before, with the same bytes and the same time of writing."""
        done = self._done.get(name)
        return done is not None and done.digest == digest and done.state.file.mtime_ns == state.file.mtime_ns

    def _settling_time(self, name: str) -> float:
        if self._settle is not None:
            return self._settle
        return SETTLE_UNCHECKED if Path(name).suffix.lower() in _UNCHECKED_SUFFIXES else SETTLE

    def _forget_absent(self, present: Mapping[str, _State]) -> None:
        """Forget pictures that disappeared, once there are many of them."""
        if len(self._done) > len(present) + _MOST_ABSENT:
            self._done = {name: done for name, done in self._done.items() if name in present}

    def _look(self) -> dict[str, os.stat_result]:
        """Return the status of every picture file that is in the folder now, by its name."""
        present = {}
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    if not is_image_name(entry.name):
                        continue
                    try:
                        status = Path(entry.path).stat()  # on Windows the entry's own status lacks the inode
                        if entry.is_file():
                            present[entry.name] = status
                    except OSError:
                        continue  # it disappeared, or is a broken link
        except OSError as error:
            raise SourceError(f"cannot look into {printable(self._folder)}: {error.strerror or error}") from error
        return present

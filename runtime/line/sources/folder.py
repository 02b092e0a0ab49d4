"""A watched folder: a camera's own software writes pictures into it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from ...core.errors import GoodpartsError, ImageError, SourceError
from ...core.files import printable
from ...core.image_files import is_image_name
from ...core.preprocess import load_rgb
from ..outputs.inspected import Inspected
from .source import Policy, SourcePicture

POLL = 0.25
"""Seconds between two looks at the folder. Looking needs no library, and works where notifications do not, as on
shares."""
PATIENCE = 5.0
"""Seconds that a damaged file may stay as it is before it is reported: until then it may still be being written."""

_State = tuple[int, int]  # size, time of change in ns


class WatchedFolder:
    """The pictures that appear in a folder from now on, oldest first, each once it is completely written.

    A file counts as written when two looks in a row find it the same and it can be decoded. Hidden files, other endings
    and folders inside are passed over; a file that is overwritten is a new picture.

    inspected: pictures that were inspected before, and when (inspected.read_inspected): whatever is in the folder
    already and is none of them, or has changed since, is then taken as well; None takes nothing that is there already.
    poll: seconds between two looks; patience: seconds that a damaged file may stay as it is before it is reported.
    """

    default_policy: Policy = "every"

    def __init__(
        self,
        folder: Path,
        inspected: dict[str, Inspected] | None = None,
        poll: float = POLL,
        patience: float = PATIENCE,
    ) -> None:
        self._folder, self._poll, self._patience = folder, poll, patience
        self._done = self._look()
        if inspected is not None:
            self._done = {
                name: state
                for name, state in self._done.items()
                if (known := inspected.get(printable(folder / name))) and known.covers((folder / name).stat())
            }
        self._pending: dict[str, tuple[_State, float]] = {}

    def pictures(self, stop: threading.Event, paced: bool) -> Iterator[SourcePicture]:  # noqa: ARG002
        while not stop.is_set():
            present = self._look()
            self._done = {name: state for name, state in self._done.items() if name in present}
            new = {name: state for name, state in present.items() if self._done.get(name) != state}
            now, before = time.monotonic(), self._pending
            self._pending = {
                name: before[name] if name in before and before[name][0] == state else (state, now)
                for name, state in new.items()
            }
            settled = [name for name in new if self._pending[name] is before.get(name)]
            for name in sorted(settled, key=lambda name: (new[name][1], name)):
                if stop.is_set():
                    return
                path = self._folder / name
                try:
                    picture = SourcePicture(load_rgb(path), printable(path))
                except GoodpartsError as error:
                    cut_short = isinstance(error, ImageError) and now - self._pending[name][1] < self._patience
                    if cut_short:
                        continue
                    picture = SourcePicture(error, printable(path))
                self._done[name] = new[name]
                del self._pending[name]
                yield picture
            stop.wait(self._poll)

    def _look(self) -> dict[str, _State]:
        """Return every picture that there is now."""
        present = {}
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    if not is_image_name(entry.name):
                        continue
                    try:
                        status = entry.stat()
                        if entry.is_file():
                            present[entry.name] = status.st_size, status.st_mtime_ns
                    except FileNotFoundError:
                        continue
        except OSError as error:
            raise SourceError(f"cannot look into {printable(self._folder)}: {error.strerror or error}") from error
        return present

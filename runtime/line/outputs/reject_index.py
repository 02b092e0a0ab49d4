"""The names of the rejects in a folder, kept in memory, so that nobody has to search the folder to know them."""

from __future__ import annotations

import bisect
import contextlib
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

FRAME_ENDING, OVERLAY_ENDING, RECORD_ENDING = ".frame.png", ".map.png", ".json"
"""What the names of a reject's three files end with."""
REJECT_FILE = re.compile(
    r"(?P<reject>\d{8}T\d{9}Z_(?P<source>[A-Za-z0-9_.-]+)_\d+)(?P<ending>\.frame\.png|\.map\.png|\.json)"
)
"""Names of a reject's files: TIME_SOURCE_NUMBER, which names the reject, and an ending."""


class RejectIndex:
    """The names of the complete rejects in a folder, in the order of their time. For several threads.

    The folder is searched at first and whenever something else than `changing` has changed it, as its time of change
    tells. folder: need not be there yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._is_changing = False
        self._names: list[str] = []
        self._known_state: int | None = None

    def names(self) -> list[str]:
        """Return all names, oldest first."""
        with self._lock:
            self._refresh()
            return list(self._names)

    def count_and_newest(self) -> tuple[int, str]:
        """Return how many rejects there are, and the name of the newest; an empty name where there is none."""
        with self._lock:
            self._refresh()
            return len(self._names), self._names[-1] if self._names else ""

    def before(self, name: str, count: int) -> tuple[list[str], bool]:
        """Return the `count` newest names that are older than `name`, newest first, and whether there are more.

        name: an empty one is newer than all.
        """
        with self._lock:
            self._refresh()
            end = bisect.bisect_left(self._names, name) if name else len(self._names)
            start = max(0, end - count)
            return self._names[start:end][::-1], start > 0

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Let the block change the folder and call `add` and `remove` for it, without a search of the folder after it.

        The index does not look at the folder meanwhile.
        """
        with self._lock:
            was_known = self._known_state == self._folder_state()
            self._is_changing = True
        try:
            yield
        finally:
            with self._lock:
                self._is_changing = False
                self._known_state = self._folder_state() if was_known else None

    def add(self, name: str) -> None:
        """Note that a reject is complete."""
        with self._lock:
            index = bisect.bisect_left(self._names, name)
            if self._names[index : index + 1] != [name]:
                self._names.insert(index, name)

    def remove(self, name: str) -> None:
        """Note that a reject is no longer complete."""
        with self._lock:
            index = bisect.bisect_left(self._names, name)
            if self._names[index : index + 1] == [name]:
                del self._names[index]

    def _refresh(self) -> None:
        state = self._folder_state()
        if self._is_changing or (state is not None and state == self._known_state):
            return
        self._known_state = state  # before the search: what changes during it is found by the next one
        try:
            with os.scandir(self.folder) as entries:
                matches = [REJECT_FILE.fullmatch(entry.name) for entry in entries]
        except OSError:
            matches = []
        self._names = sorted(match["reject"] for match in matches if match and match["ending"] == RECORD_ENDING)

    def _folder_state(self) -> int | None:
        """Return what changes with every file that comes or goes; None while there is no folder."""
        try:
            return self.folder.stat().st_mtime_ns
        except OSError:
            return None

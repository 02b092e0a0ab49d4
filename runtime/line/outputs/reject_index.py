"""The names of the rejects in a folder, kept in memory, so that nobody has to search the folder to know them."""

from __future__ import annotations

import bisect
import contextlib
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

from ..smoothing import Decision

FRAME_ENDING, OVERLAY_ENDING, RECORD_ENDING = ".frame.png", ".map.png", ".json"
"""What the names of a reject's three files end with."""
REJECT_FILE = re.compile(
    r"(?P<reject>\d{8}T\d{9}Z_(?P<source>[A-Za-z0-9_.-]+)_\d+(?:-review)?)(?P<ending>\.frame\.png|\.map\.png|\.json)"
)
"""Names of a reject's files: TIME_SOURCE_NUMBER, which names the reject, and an ending."""
REVIEW_MARK = "-review"
"""What the name of a part that is to be reviewed ends with, after the number."""


def is_review(name: str) -> bool:
    """Return whether a reject's name is that of a part that is to be reviewed."""
    return name.endswith(REVIEW_MARK)


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
        names = self.names()
        return len(names), names[-1] if names else ""

    def count_reviews(self) -> int:
        """Return how many of the rejects are parts that are to be reviewed."""
        return sum(map(is_review, self.names()))

    def before(self, name: str, count: int, decision: Decision | None = None) -> tuple[list[str], bool]:
        """Return the `count` newest names that are older than `name`, newest first, and whether there are more.

        name: an empty one is newer than all; decision: "review" or "reject" for only these, None for both.
        """
        names = [one for one in self.names() if decision is None or is_review(one) == (decision == "review")]
        end = bisect.bisect_left(names, name) if name else len(names)
        start = max(0, end - count)
        return names[start:end][::-1], start > 0

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

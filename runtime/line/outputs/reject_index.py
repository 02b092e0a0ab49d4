"""An index of the rejects in a folder, kept in memory to save searches of the folder."""

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
"""The endings of the names of a reject's three files."""
REJECT_FILE = re.compile(
    r"(?P<reject>\d{8}T\d{9}Z_(?P<source>[A-Za-z0-9_.-]+)_\d+(?:-review)?)(?P<ending>\.frame\.png|\.map\.png|\.json)"
)
"""The pattern of the names of a reject's files: TIME_SOURCE_NUMBER, which is the name of the reject, and an ending."""
REVIEW_MARK = "-review"
"""The end of the name of a reject that is a part to review, after the number."""


def is_review(name: str) -> bool:
    """Return whether a name is that of a part to review.

    Args:
        name: The name of a reject.
    """
    return name.endswith(REVIEW_MARK)


class RejectIndex:
    """The names of the complete rejects in a folder, in the order of their time. It is thread-safe.

    The folder is searched at the first use. It is searched again when its modification time shows a change that was not
    made within `changing`.

    Args:
        folder: The folder, which need not exist yet.
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
        """Return the number of rejects and the name of the newest, which is empty if there are none."""
        names = self.names()
        return len(names), names[-1] if names else ""

    def count_reviews(self) -> int:
        """Return the number of rejects that are parts to review."""
        return sum(map(is_review, self.names()))

    def before(self, name: str, count: int, decision: Decision | None = None) -> tuple[list[str], bool]:
        """Return the newest names that are older than a given one, newest first, and whether there are more.

        Args:
            name: The given name; an empty name counts as newer than all.
            count: The most names to return.
            decision: The decision whose names are returned, "review" or "reject"; None for both.
        """
        names = [one for one in self.names() if decision is None or is_review(one) == (decision == "review")]
        end = bisect.bisect_left(names, name) if name else len(names)
        start = max(0, end - count)
        return names[start:end][::-1], start > 0

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Let a block change the folder and call `add` and `remove`, so that no search of the folder is needed.

        Meanwhile the index does not read the folder.

        Returns:
            The context manager of the block.
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
        """Add a reject that is now complete.

        Args:
            name: The name of the reject.
        """
        with self._lock:
            index = bisect.bisect_left(self._names, name)
            if self._names[index : index + 1] != [name]:
                self._names.insert(index, name)

    def remove(self, name: str) -> None:
        """Remove a reject that is no longer complete.

        Args:
            name: The name of the reject.
        """
        with self._lock:
            index = bisect.bisect_left(self._names, name)
            if self._names[index : index + 1] == [name]:
                del self._names[index]

    def _refresh(self) -> None:
        state = self._folder_state()
        if self._is_changing or (state is not None and state == self._known_state):
            return
        self._known_state = state  # set first: the next search finds changes that happen meanwhile
        try:
            with os.scandir(self.folder) as entries:
                matches = [REJECT_FILE.fullmatch(entry.name) for entry in entries]
        except OSError:
            matches = []
        self._names = sorted(match["reject"] for match in matches if match and match["ending"] == RECORD_ENDING)

    def _folder_state(self) -> int | None:
        """Return the folder's modification time, which every new or removed file changes; None without a folder."""
        try:
            return self.folder.stat().st_mtime_ns
        except OSError:
            return None

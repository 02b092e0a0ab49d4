"""Decisions over time: one odd frame need not stop a line."""

from __future__ import annotations

from collections import deque
from typing import Literal

Decision = Literal["good", "reject"]


class Smoothing:
    """Decides reject while at least n of the last m frames are rejected."""

    def __init__(self, n: int, m: int) -> None:
        self._n = n
        self._last: deque[bool] = deque(maxlen=m)

    def decide(self, rejected: bool) -> Decision:
        """Take the next frame's verdict into account and return the decision."""
        self._last.append(rejected)
        return "reject" if sum(self._last) >= self._n else "good"

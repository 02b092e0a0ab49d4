"""Decisions over time: one odd frame need not stop a line."""

from __future__ import annotations

from collections import deque

from ..recipe.header import Verdict

Decision = Verdict


class Smoothing:
    """Decides reject while at least n of the last m frames are rejected, else review while n are not good."""

    def __init__(self, n: int, m: int) -> None:
        self._n = n
        self._last: deque[Verdict] = deque(maxlen=m)

    def decide(self, verdict: Verdict) -> Decision:
        """Take the next frame's verdict into account and return the decision."""
        self._last.append(verdict)
        if self._last.count("reject") >= self._n:
            return "reject"
        return "review" if len(self._last) - self._last.count("good") >= self._n else "good"

"""Decisions over several frames, so that a single odd frame does not stop a line."""

from __future__ import annotations

from collections import deque

from ..recipe.header import Verdict

Decision = Verdict


class Smoothing:
    """Decides from the verdicts of the last m frames of one source.

    The decision is reject while at least n of the last m verdicts are reject. Otherwise it is review while at least n
    of them are not good, and good in all other cases.

    Args:
        n: The number of verdicts that a decision needs, from 1 to m.
        m: The number of last frames that count.
    """

    def __init__(self, n: int, m: int) -> None:
        self._n = n
        self._last: deque[Verdict] = deque(maxlen=m)

    def decide(self, verdict: Verdict) -> Decision:
        """Add the next frame's verdict and decide.

        Args:
            verdict: The verdict of the next frame.

        Returns:
            The decision for that frame.
        """
        self._last.append(verdict)
        if self._last.count("reject") >= self._n:
            return "reject"
        return "review" if len(self._last) - self._last.count("good") >= self._n else "good"

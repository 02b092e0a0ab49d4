"""How long to wait before something that failed is tried again."""

from __future__ import annotations


class Backoff:
    """Delays that double with every failure, from `first` up to `longest` seconds.

    failures: how many there were since it last worked.
    """

    def __init__(self, first: float, longest: float = 30.0) -> None:
        self._first, self._longest = first, longest
        self.failures = 0

    def next(self) -> float:
        """Count a failure and return the seconds to wait."""
        self.failures += 1
        return min(self._longest, self._first * 2.0 ** min(self.failures - 1, 30))

    def reset(self) -> bool:
        """Note that it works; return whether it did not before."""
        failed, self.failures = self.failures > 0, 0
        return failed

"""Back-off: the delay before a retry grows with every failure."""

from __future__ import annotations


class Backoff:
    """Delays that double with every failure.

    Args:
        first: The delay after the first failure, in seconds.
        longest: The longest delay, in seconds.

    Attributes:
        failures: The number of failures since the last success.
    """

    def __init__(self, first: float, longest: float = 30.0) -> None:
        self._first, self._longest = first, longest
        self.failures = 0

    def next(self) -> float:
        """Count a failure.

        Returns:
            The seconds to wait.
        """
        self.failures += 1
        return min(self._longest, self._first * 2.0 ** min(self.failures - 1, 30))

    def reset(self) -> bool:
        """Record a success.

        Returns:
            Whether there were failures before it.
        """
        failed, self.failures = self.failures > 0, 0
        return failed

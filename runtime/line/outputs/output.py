"""The protocol of outputs, to which results are delivered one at a time."""

from __future__ import annotations

from typing import Protocol

from ...core.errors import GoodpartsError
from ..results import Result


class DeliveryError(GoodpartsError):
    """A result could not be delivered."""


class Output(Protocol):
    """A destination of results.

    Attributes:
        name: Its name in messages.
        depth: The most results that wait while deliveries fail or are slow. Beyond this number the oldest results are
            lost and counted.
    """

    name: str
    depth: int

    def wants(self, result: Result) -> bool:
        """Return whether the output is to receive a result.

        Args:
            result: The result of a frame.
        """

    def send(self, result: Result) -> None:
        """Deliver a result. Any exception means that it was not delivered, and then it is sent again.

        Args:
            result: A result that the output wants.
        """

    def reopen(self) -> None:
        """Open the output's file anew if it was renamed or removed, as when logs are rotated."""

    def close(self) -> None:
        """Release files and connections; no more results come."""

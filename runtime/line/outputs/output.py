"""What an output is: something that results are delivered to, one at a time."""

from __future__ import annotations

from typing import Protocol

from ...core.errors import GoodpartsError
from ..results import Result


class DeliveryError(GoodpartsError):
    """A result could not be handed to whom it was for."""


class Output(Protocol):
    """Where results go.

    name: what messages call it; depth: results that wait while sending fails or is slow, beyond which the oldest are
    lost, and counted.
    """

    name: str
    depth: int

    def wants(self, result: Result) -> bool:
        """Return whether this result is sent here."""

    def send(self, result: Result) -> None:
        """Deliver a result; any exception means that it was not delivered, and it is sent again."""

    def reopen(self) -> None:
        """Open the file of the output's name anew where it was renamed or removed, as when logs are rotated."""

    def close(self) -> None:
        """Release what is held; no more results come."""

"""A pipeline: what one source consists of in a running line."""

from __future__ import annotations

from dataclasses import dataclass

from .capture import Capture
from .frames import FrameQueue
from .meter import Meter
from .settings import SourceSettings
from .settling import Settling
from .station import Station
from .status import SourceStatus


@dataclass(frozen=True, eq=False)
class Pipeline:
    """One source: its capture fills the queue, its station inspects what is in it, its meter counts what came of it.

    settling: proposes a threshold from the next parts, when it is asked to.
    """

    settings: SourceSettings
    capture: Capture
    queue: FrameQueue
    station: Station
    meter: Meter
    settling: Settling

    def status(self) -> SourceStatus:
        """Return how the source stands now."""
        return SourceStatus(self.meter, self.queue.dropped, self.capture.up, self.station.scene_watch)

"""A pipeline: the parts of a running line that belong to one source."""

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
    """The parts of a running line that belong to one source.

    Attributes:
        settings: The source's settings.
        capture: Fills the queue with its frames.
        queue: The frames that wait.
        station: Inspects the frames of the queue.
        meter: Counts and times the frames.
        settling: Proposes a threshold from the next parts when asked.
    """

    settings: SourceSettings
    capture: Capture
    queue: FrameQueue
    station: Station
    meter: Meter
    settling: Settling

    def status(self) -> SourceStatus:
        """Return the status of the source now."""
        return SourceStatus(self.meter, self.queue.dropped, self.capture.up, self.station.scene_watch)

"""Frames, and the bounded queue in which they wait between capture and inspection."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from ..core.errors import GoodpartsError
from ..core.preprocess import Array8
from ..core.yuv import YuvFrame
from .picture_file import PictureFile
from .sources.source import Policy

WAITING = 4
"""The most frames that wait under the policy `every`."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture on its way through the line.

    Attributes:
        source: The name of its source.
        number: Its number within the source, counted from 0; lost pictures have numbers too.
        pixels: uint8 RGB [H,W,3], or the reason why it has no pixels.
        path: The file of the picture; None if there is none.
        time: When it arrived, in seconds since 1970.
        arrival: The same moment on time.perf_counter, in seconds.
        file: The identity of the file contents that the picture was read from.
        yuv: The same picture in YUV, for a GPU; None if it was not asked for or not possible.
    """

    source: str
    number: int
    pixels: Array8 | GoodpartsError
    path: str | None
    time: float
    arrival: float
    file: PictureFile | None = None
    yuv: YuvFrame | None = None


class FrameQueue:
    """The waiting frames of one source, as many as its policy allows. It is thread-safe.

    Args:
        policy: `newest` keeps only the newest frame; `every` keeps up to WAITING frames and then makes the source
            wait.

    Attributes:
        dropped: The number of frames that a newer one has replaced.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.dropped = 0
        self._frames: deque[Frame] = deque()
        self._limit = 1 if policy == "newest" else WAITING
        self._closed = False
        self._changed = threading.Condition()

    def put(self, frame: Frame) -> None:
        """Add a frame. Under the policy `every`, wait for room first. A closed queue drops the frame.

        Args:
            frame: The frame to add, the newest of its source.
        """
        with self._changed:
            if self.policy == "every":
                self._changed.wait_for(lambda: len(self._frames) < self._limit or self._closed)
            if self._closed:
                return
            if len(self._frames) == self._limit:
                self._frames.popleft()
                self.dropped += 1
            self._frames.append(frame)
            self._changed.notify_all()

    def take(self) -> Frame | None:
        """Wait for the next frame.

        Returns:
            The frame, or None when the queue is closed and empty.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._closed)
            if not self._frames:
                return None
            frame = self._frames.popleft()
            self._changed.notify_all()
            return frame

    @property
    def waiting(self) -> int:
        """The number of frames that wait."""
        return len(self._frames)

    def close(self) -> None:
        """Accept no more frames; those that wait can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

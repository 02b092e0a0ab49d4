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
"""Most frames that wait, where every one is inspected."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture on its way through the line.

    source: name of its source; number: counted from 0, per source, with those that were lost; pixels, path, file, yuv:
    see sources.SourcePicture; time: when it came, in seconds since 1970; arrival: the same moment on time.perf_counter.
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
    """Frames of one source, bounded by its policy. dropped: frames that a newer one has replaced."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.dropped = 0
        self._frames: deque[Frame] = deque()
        self._limit = 1 if policy == "newest" else WAITING
        self._closed = False
        self._changed = threading.Condition()

    def put(self, frame: Frame) -> None:
        """Add a frame, unless the queue is closed: by the policy newest at once, by every when there is room."""
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
        """Wait for the next frame and return it; return None when the queue is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._closed)
            if not self._frames:
                return None
            frame = self._frames.popleft()
            self._changed.notify_all()
            return frame

    @property
    def waiting(self) -> int:
        """Frames that wait."""
        return len(self._frames)

    def close(self) -> None:
        """Let no more frames in; those that wait can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

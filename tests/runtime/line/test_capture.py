from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
from goodparts.runtime.core.errors import SourceError
from goodparts.runtime.line.capture import Capture
from goodparts.runtime.line.context import LineContext
from goodparts.runtime.line.frames import FrameQueue
from goodparts.runtime.line.meter import Meter
from goodparts.runtime.line.sources.source import Policy, Source, SourceEvent, SourcePicture

PIXELS = np.zeros((8, 8, 3), np.uint8)


class Flaky:
    """A source that fails at the first two openings, then gives a picture and is lost, then gives another and ends."""

    default_policy: Policy = "every"

    def __init__(self) -> None:
        self._openings = 0

    def pictures(self, stop: threading.Event, paced: bool) -> Iterator[SourcePicture]:  # noqa: ARG002
        self._openings += 1
        if self._openings <= 2:
            raise SourceError("unplugged")
        yield SourcePicture(PIXELS)
        if self._openings == 3:
            raise OSError("cable")


def test_a_lost_source_is_reported_once_and_opened_again() -> None:
    messages: list[str] = []
    queue = FrameQueue("every")
    capture(Flaky(), queue, messages)
    assert [frame.number for frame in iter(queue.take, None)] == [0, 1]
    assert messages == [
        "left: unplugged; will keep trying, first in 0.001 s",
        "left: pictures arrive again",
        "left: OSError: cable; will keep trying, first in 0.001 s",
        "left: pictures arrive again",
        "left: finished after 2 pictures",
    ]


def capture(source: Source, queue: FrameQueue, messages: list[str]) -> Meter:
    """Take a source's pictures until it ends, and return its meter."""
    meter = Meter("left")
    Capture("left", source, queue, meter, LineContext(messages.append, first_delay=1e-3)).run()
    return meter


class Damaged:
    """A source that gives a picture, loses two, and gives another."""

    default_policy: Policy = "every"

    def pictures(self, stop: threading.Event, paced: bool) -> Iterator[SourcePicture | SourceEvent]:  # noqa: ARG002
        yield SourcePicture(PIXELS)
        yield SourceEvent(failed=2, message="2 frames dropped")
        yield SourcePicture(PIXELS)


def test_lost_pictures_are_counted_as_failed_and_reported_and_keep_their_numbers() -> None:
    messages: list[str] = []
    queue = FrameQueue("every")
    meter = capture(Damaged(), queue, messages)
    assert [frame.number for frame in iter(queue.take, None)] == [0, 3]
    assert meter.counts()["failed"] == 2
    assert messages == ["left: 2 frames dropped", "left: finished after 2 pictures"]

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
from goodparts.runtime.core.errors import SourceError
from goodparts.runtime.line.capture import Capture
from goodparts.runtime.line.context import LineContext
from goodparts.runtime.line.frames import FrameQueue
from goodparts.runtime.line.sources.source import Policy, SourcePicture

PIXELS = np.zeros((8, 8, 3), np.uint8)


class Flaky:
    """Cannot be opened twice, gives a picture and is lost, then gives another and ends."""

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
    Capture("left", Flaky(), queue, LineContext(messages.append, first_delay=1e-3)).run()
    assert [frame.number for frame in iter(queue.take, None)] == [0, 1]
    assert messages == [
        "left: unplugged; tried again from 0.001 s on",
        "left: pictures again",
        "left: OSError: cable; tried again from 0.001 s on",
        "left: pictures again",
    ]

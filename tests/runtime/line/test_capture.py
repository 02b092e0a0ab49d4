from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
from goodparts.runtime.core.errors import SourceError
from goodparts.runtime.line.capture import WAITING, Backoff, Capture, Frame, FrameQueue
from goodparts.runtime.line.sources.source import Picture, Policy

PIXELS = np.zeros((8, 8, 3), np.uint8)


def make_frame(number: int) -> Frame:
    return Frame("camera", number, PIXELS, None, 0.0, 0.0)


def take_all(queue: FrameQueue) -> list[int]:
    return [frame.number for frame in iter(queue.take, None)]


def test_the_newest_frame_wins_and_drops_are_counted() -> None:
    queue = FrameQueue("newest")
    for number in range(3):
        queue.put(make_frame(number))
    queue.close()
    assert take_all(queue) == [2]
    assert queue.dropped == 2


def test_every_frame_comes_through_and_the_source_waits() -> None:
    queue = FrameQueue("every")
    total = 3 * WAITING

    def produce() -> None:
        for number in range(total):
            queue.put(make_frame(number))
        queue.close()

    producer = threading.Thread(target=produce)
    producer.start()
    assert take_all(queue) == list(range(total))
    producer.join()
    assert queue.dropped == 0


def test_closing_a_full_queue_releases_its_source() -> None:
    queue = FrameQueue("every")
    producer = threading.Thread(target=lambda: [queue.put(make_frame(number)) for number in range(WAITING + 1)])
    producer.start()
    queue.close()
    producer.join(10)
    assert not producer.is_alive()


def test_backoff_doubles_up_to_its_longest() -> None:
    backoff = Backoff(1.0, longest=5.0)
    assert [backoff.next() for _ in range(4)] == [1.0, 2.0, 4.0, 5.0]
    assert backoff.reset()
    assert not backoff.reset()
    assert backoff.next() == 1.0


class Flaky:
    """Cannot be opened twice, gives a picture and is lost, then gives another and ends."""

    default: Policy = "every"

    def __init__(self) -> None:
        self._openings = 0

    def pictures(self, stop: threading.Event, paced: bool) -> Iterator[Picture]:  # noqa: ARG002
        self._openings += 1
        if self._openings <= 2:
            raise SourceError("unplugged")
        yield Picture(PIXELS)
        if self._openings == 3:
            raise OSError("cable")


def test_a_lost_source_is_said_once_and_opened_again() -> None:
    said: list[str] = []
    queue = FrameQueue("every")
    Capture("left", Flaky(), queue, threading.Event(), said.append, Backoff(1e-3)).run()
    assert take_all(queue) == [0, 1]
    assert said == [
        "left: unplugged; tried again from 0.001 s on",
        "left: pictures again",
        "left: OSError: cable; tried again from 0.001 s on",
        "left: pictures again",
    ]

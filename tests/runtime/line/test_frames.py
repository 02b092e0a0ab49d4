from __future__ import annotations

import threading

import numpy as np
from goodparts.runtime.line.frames import WAITING, Frame, FrameQueue

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

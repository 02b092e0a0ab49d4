from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from goodparts.runtime.core.errors import SourceError
from goodparts.runtime.line.sources import watchdog
from goodparts.runtime.line.sources.address import make_source
from goodparts.runtime.line.sources.source import Policy, SourcePicture
from goodparts.runtime.line.sources.video import Video
from goodparts.runtime.line.sources.watchdog import MOST_HANGING, Watchdog

PIXELS = np.zeros((8, 8, 3), np.uint8)


class Hanging:
    """A source that gives a picture and then hangs until it is released."""

    default_policy: Policy = "newest"

    def __init__(self) -> None:
        self.go = threading.Event()
        self.given_up: list[bool] = []

    def pictures(self, stop: threading.Event, paced: bool) -> Iterator[SourcePicture]:  # noqa: ARG002
        yield SourcePicture(PIXELS)
        self.go.wait(30)
        self.given_up.append(stop.is_set())


def count(source: Watchdog, stop: threading.Event) -> tuple[int, str]:
    got = 0
    try:
        for _ in source.pictures(stop, False):
            got += 1
    except SourceError as error:
        return got, str(error)
    return got, ""


def test_a_read_that_hangs_is_given_up_and_few_may_hang_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "_LOOK", 0.01)
    camera, stop = Hanging(), threading.Event()
    source = Watchdog(camera, 0.05, "cam")
    for _ in range(MOST_HANGING):
        assert count(source, stop) == (1, "cam: a read hangs, given up after 0.05 s")
    assert count(source, stop) == (0, "cam: 3 reads hang; waiting for one to come back: reset the device")
    camera.go.set()
    for reader in source._hanging:
        reader.join(30)
    assert count(source, stop) == (1, "")  # it works again
    assert camera.given_up[:MOST_HANGING] == [True] * MOST_HANGING


def test_exceptions_of_a_source_come_through_and_a_slow_line_is_not_a_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "_LOOK", 0.01)

    class Two(Hanging):
        def pictures(self, stop: threading.Event, paced: bool) -> Iterator[SourcePicture]:  # noqa: ARG002
            yield SourcePicture(PIXELS)
            yield SourcePicture(PIXELS)
            raise SourceError("unplugged")

    pictures = Watchdog(Two(), 0.02, "cam").pictures(threading.Event(), False)
    next(pictures)
    threading.Event().wait(0.06)  # the line takes longer than the watchdog's patience
    next(pictures)
    with pytest.raises(SourceError, match="unplugged"):
        next(pictures)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_system_call_that_never_returns_stops_nothing(recording: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "camera"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)  # while a writer is open, a read waits
    os.write(writer, recording.read_bytes()[:1000])
    source = Watchdog(Video(str(pipe), timeout=0.1), 0.3, "pipe")
    assert count(source, threading.Event()) == (0, "pipe: a read hangs, given up after 0.3 s")
    os.close(writer)  # the read returns, and its thread ends
    source._hanging[0].join(30)
    assert not source._hanging[0].is_alive()


def test_cameras_and_streams_have_a_watchdog_and_recordings_have_none(recording: Path) -> None:
    assert isinstance(make_source("/dev/video0", 1.0), Watchdog)
    assert isinstance(make_source("rtsp://camera/live", 1.0), Watchdog)
    assert isinstance(make_source(str(recording), 1.0), Video)

"""A camera for tests that can be lost, stall and come back. It sends an MPEG transport stream over TCP."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.line.sources.address import make_source
from goodparts.runtime.line.sources.source import SourceEvent

FPS = 20


def record_stream(path: Path, pictures: Sequence[Array8]) -> Path:
    """Write pictures, uint8 RGB [H,W,3], as H.264 keyframes into a transport stream."""
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "12", "g": "1", "tune": "zerolatency"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for pixels in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def read_video(address: str, timeout: float = 30.0) -> tuple[list[Array8], list[SourceEvent]]:
    """Return the pictures of a video and its events, without events that tell only that the source is alive."""
    pictures, events = list[Array8](), list[SourceEvent]()
    for item in make_source(address, timeout).pictures(threading.Event(), paced=False):
        if isinstance(item, SourceEvent):
            if item != SourceEvent():
                events.append(item)
        else:
            assert isinstance(item.pixels, np.ndarray)
            pictures.append(item.pixels)
    return pictures, events


def read_stream(path: Path) -> list[Array8]:
    """Return the pictures of a stream, decoded by PyAV alone."""
    with av.open(str(path)) as container:
        return [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in container.decode(video=0)]


class Camera:
    """Sends a transport stream again and again to each client, at about FPS pictures per second."""

    def __init__(self, stream: Path) -> None:
        self._data = stream.read_bytes()
        self._chunk = 188 * max(1, len(self._data) // len(read_stream(stream)) // 188)
        self._silent, self._lost, self._closed = threading.Event(), threading.Event(), threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(0.1)
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def lose(self) -> None:
        """Close the connection, in the middle of a picture, and each new one at once."""
        self._lost.set()

    def stall(self) -> None:
        """Send nothing more, and keep the connection."""
        self._silent.set()

    def revive(self) -> None:
        self._lost.clear()
        self._silent.clear()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()
        self._listening.close()

    def _serve(self) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(OSError):
                connection, _ = self._listening.accept()
                with connection:
                    connection.settimeout(1.0)
                    self._send(connection)

    def _send(self, connection: socket.socket) -> None:
        place = 0
        while not (self._closed.is_set() or self._lost.is_set()):
            if not self._silent.is_set():
                connection.sendall(self._data[place : place + self._chunk])
                place = (place + self._chunk) % len(self._data)
            self._closed.wait(1 / FPS)

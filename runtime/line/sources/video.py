"""Video through PyAV: cameras (V4L2), RTSP, HTTP and files.

PyAV, because its wheels bring FFmpeg for x86-64, aarch64 and Windows, and one library then reads all of these, with
time-outs that OpenCV's reader has not and without an installation of GStreamer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer

from ...core.errors import SourceError
from .source import Picture, Policy, redacted

_LOW_LATENCY = {"flags": "low_delay"}  # fflags=nobuffer would lose recordings over HTTP


class Video:
    """A camera, a stream or a recording. What has a duration ends; anything else that ends was lost."""

    def __init__(self, address: str, timeout: float) -> None:
        self._address, self._timeout = address, timeout
        self._is_file = Path(address).is_file()
        self.default: Policy = "every" if self._is_file else "newest"

    def pictures(self, stop: threading.Event, paced: bool) -> Iterator[Picture]:
        try:
            with self._open() as container:
                yield from self._decode(container, stop, paced)
                ends = self._is_file or container.duration is not None
        except av.error.FFmpegError as error:
            silent = isinstance(error, (av.error.ExitError, av.error.TimeoutError))
            said = f"nothing came for {self._timeout:g} s" if silent else error.strerror or type(error).__name__
            raise SourceError(f"{redacted(self._address)}: {said}") from error
        if not ends and not stop.is_set():
            raise SourceError(f"{redacted(self._address)}: the stream ended")

    def _open(self) -> InputContainer:
        if self._is_file:
            return av.open(self._address)
        scheme = self._address.partition("://")[0]
        options = _LOW_LATENCY | ({"rtsp_transport": "tcp"} if scheme in ("rtsp", "rtsps") else {})
        kind = "v4l2" if self._address.startswith("/dev/") else None
        return av.open(self._address, format=kind, options=options, timeout=self._timeout)

    def _decode(self, container: InputContainer, stop: threading.Event, paced: bool) -> Iterator[Picture]:
        if not container.streams.video:
            raise SourceError(f"{redacted(self._address)}: there is no video in it")
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1  # each source has a thread of its own, and frame threads add delay
        started, last, count = None, time.monotonic(), 0
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:  # a lost packet is no lost camera
                frames = []
            for frame in frames:
                if frame.is_corrupt:  # made up where a packet was lost: no picture of the part
                    continue
                last = time.monotonic()
                if paced and self._is_file and frame.time is not None:
                    started = last - frame.time if started is None else started
                    stop.wait(max(0.0, started + frame.time - last))
                if stop.is_set():
                    return
                yield Picture(frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False))
                last, count = time.monotonic(), count + 1
            if time.monotonic() - last > self._timeout:
                raise SourceError(f"{redacted(self._address)}: no picture for {self._timeout:g} s")
        if not count:
            raise SourceError(f"{redacted(self._address)}: it held no picture that can be decoded")

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
from ..redact import redact_address
from .source import Policy, SourcePicture

_LOW_LATENCY = {"flags": "low_delay"}  # fflags=nobuffer would lose recordings over HTTP


class Video:
    """A camera, a stream or a recording. What has a duration ends; anything else that ends was lost.

    address: a file, /dev/video0, or a URL that FFmpeg reads; timeout: seconds without a picture after which a camera or
    stream counts as lost.
    """

    def __init__(self, address: str, timeout: float) -> None:
        self._address, self._timeout = address, timeout
        self._shown_address = redact_address(address)
        self._is_file = Path(address).is_file()
        self.default_policy: Policy = "every" if self._is_file else "newest"

    def pictures(self, stop: threading.Event, paced: bool) -> Iterator[SourcePicture]:
        try:
            with self._open() as container:
                yield from self._decode(container, stop, paced)
                ends = self._is_file or container.duration is not None
        except av.error.FFmpegError as error:
            silent = isinstance(error, (av.error.ExitError, av.error.TimeoutError))
            reason = f"nothing came for {self._timeout:g} s" if silent else error.strerror or type(error).__name__
            raise SourceError(f"{self._shown_address}: {reason}") from error
        if not ends and not stop.is_set():
            raise SourceError(f"{self._shown_address}: the stream ended")

    def _open(self) -> InputContainer:
        if self._is_file:
            return av.open(self._address)
        scheme = self._address.partition("://")[0]
        options = _LOW_LATENCY | ({"rtsp_transport": "tcp"} if scheme in ("rtsp", "rtsps") else {})
        container_format = "v4l2" if self._address.startswith("/dev/") else None
        return av.open(self._address, format=container_format, options=options, timeout=self._timeout)

    def _decode(self, container: InputContainer, stop: threading.Event, paced: bool) -> Iterator[SourcePicture]:
        if not container.streams.video:
            raise SourceError(f"{self._shown_address}: there is no video in it")
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1  # each source has a thread of its own, and frame threads add delay
        start, last, count = None, time.monotonic(), 0
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
                    start = last - frame.time if start is None else start
                    stop.wait(max(0.0, start + frame.time - last))
                if stop.is_set():
                    return
                yield SourcePicture(frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False))
                last, count = time.monotonic(), count + 1
            if time.monotonic() - last > self._timeout:
                raise SourceError(f"{self._shown_address}: no picture for {self._timeout:g} s")
        if not count:
            raise SourceError(f"{self._shown_address}: it held no picture that can be decoded")

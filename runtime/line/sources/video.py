"""Reads video through PyAV: from cameras (V4L2), RTSP, HTTP and files.

PyAV is used because its wheels contain FFmpeg for x86-64, aarch64 and Windows, and so one library reads all of these.
Unlike OpenCV's reader it has time-outs, and unlike GStreamer it needs no installation beyond the wheel.
"""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import av
from av.container import InputContainer

from ...core.errors import SettingsError, SourceError
from ..redact import HIDDEN, redact_address
from .intact_frames import IntactFrames
from .recording import ReadLength, is_recording
from .source import Policy, SourceEvent, SourcePicture
from .upright_rgb import UprightRgb, to_yuv

_LOW_LATENCY = {"flags": "low_delay"}  # fflags=nobuffer would break recordings over HTTP
_KEYFRAME_PATIENCE = 30.0
"""Seconds to wait for the next keyframe of a live stream. Cameras send one every few seconds."""


class Video:
    """A camera, a stream or a recording. A recording finishes at its end; a live stream that ends counts as lost.

    Damaged pictures are dropped, with all others up to the next keyframe, and counted as failed.

    Args:
        address: A file, /dev/video0, or a URL that FFmpeg reads.
        timeout: Seconds without a picture after which a camera or stream counts as lost.
        keeps_yuv: Whether pictures are given in YUV too, if to_yuv can convert them.
    """

    def __init__(self, address: str, timeout: float, *, keeps_yuv: bool = False) -> None:
        self._address, self._timeout, self._keeps_yuv = address, timeout, keeps_yuv
        self._shown_address = redact_address(address)
        self._is_file = Path(address).is_file()
        self.default_policy: Policy = "every" if self._is_file else "newest"

    def require_video(self) -> None:
        """Check that a file holds video or a picture; do nothing for other addresses and unreadable files.

        Raises:
            SettingsError: The file holds neither.
        """
        if not self._is_file:
            return
        holds_video = True
        try:
            with self._open() as container:
                holds_video = len(container.streams.video) > 0
        except av.error.InvalidDataError:
            holds_video = False
        except av.error.FFmpegError:
            pass  # `pictures` reports it and tries again
        if not holds_video:
            raise SettingsError(
                f"source {self._shown_address}: the file holds no video or picture that can be read; name a folder of "
                "pictures, a video file, a camera such as /dev/video0, or a stream such as rtsp://…"
            )

    def pictures(self, stop: threading.Event, paced: bool) -> Iterator[SourcePicture | SourceEvent]:
        try:
            with self._open() as container:
                if not container.streams.video:
                    raise SourceError(f"{self._shown_address}: there is no video in it")
                reading = _Reading(
                    self._shown_address, container, self._timeout, self._is_file, self._is_http, self._keeps_yuv
                )
                yield from reading.run(stop, paced and self._is_file)
        except av.error.FFmpegError as error:
            reason = self._find_host_fault(error) or _reason(error, self._timeout)
            raise SourceError(f"{self._shown_address}: {reason}") from error

    def _find_host_fault(self, error: av.error.FFmpegError) -> str:
        """Return that the host of a URL is not known, if so; FFmpeg reports only an input or output error for that."""
        if not self._scheme or error.errno != errno.EIO:
            return ""
        host = None
        try:
            host = urlsplit(self._shown_address).hostname
            if host and host != HIDDEN:
                socket.getaddrinfo(host, None)
        except ValueError:  # no host can have this name; UnicodeError is one too
            return "the address names no host: check it"
        except OSError as fault:
            return f"host {host!r} is not known ({fault.strerror}); check the address and the network"
        return ""

    @property
    def _scheme(self) -> str:
        scheme, separator, _ = self._address.partition("://")
        return scheme if separator else ""

    @property
    def _is_http(self) -> bool:
        return self._scheme in ("http", "https")

    def _open(self) -> InputContainer:
        if self._is_file:
            return av.open(self._address)
        options = _LOW_LATENCY | ({"rtsp_transport": "tcp"} if self._scheme in ("rtsp", "rtsps") else {})
        container_format = "v4l2" if self._address.startswith("/dev/") else None
        return av.open(self._address, format=container_format, options=options, timeout=self._timeout)


class _Reading:
    """One opened video while it is read. `address` is its name in messages; the other arguments are as for Video."""

    def __init__(
        self, address: str, container: InputContainer, timeout: float, is_file: bool, is_http: bool, keeps_yuv: bool
    ) -> None:
        self._address, self._container, self._timeout, self._is_file = address, container, timeout, is_file
        self._keeps_yuv = keeps_yuv
        self._stream = container.streams.video[0]
        self._finishes = is_recording(container, is_file=is_file, is_http=is_http)
        self._length = ReadLength(container, self._stream)
        self._intact = IntactFrames(self._stream.codec_context, is_live=not self._finishes)
        self._pictures = self._damaged = 0

    def run(self, stop: threading.Event, paced: bool) -> Iterator[SourcePicture | SourceEvent]:
        """Yield the pictures and events of the video.

        Raise SourceError if a live stream is lost, or if a recording has no picture.
        """
        ending = ""
        try:
            yield from self._read(stop, paced)
        except av.error.FFmpegError as error:
            ending = _reason(error, self._timeout)
        except _SilentError as error:
            ending = str(error)
        yield from self._report_damage()
        if not stop.is_set():
            yield from self._end(ending)

    def _read(self, stop: threading.Event, paced: bool) -> Iterator[SourcePicture | SourceEvent]:
        to_rgb = UprightRgb()
        start, last = None, time.monotonic()
        for packet in self._container.demux(self._stream):
            if stop.is_set():
                return
            self._length.add(packet)
            lost, frames = self._intact.decode(packet)
            if lost or self._intact.waits_for_keyframe:
                self._damaged += lost
                yield SourceEvent(failed=lost)
            for frame in frames:
                yield from self._report_damage()
                last = time.monotonic()
                if paced and frame.time is not None:
                    start = last - frame.time if start is None else start
                    stop.wait(max(0.0, start + frame.time - last))
                if stop.is_set():
                    return
                yield SourcePicture(to_rgb.convert(frame), yuv=to_yuv(frame) if self._keeps_yuv else None)
                last, self._pictures = time.monotonic(), self._pictures + 1
            if not self._finishes:
                self._require_picture_since(last)

    def _require_picture_since(self, last: float) -> None:
        waits = self._intact.waits_for_keyframe
        patience = max(self._timeout, _KEYFRAME_PATIENCE) if waits else self._timeout
        if time.monotonic() - last > patience:
            raise _SilentError(f"no {'keyframe' if waits else 'picture'} for {patience:g} s")

    def _report_damage(self) -> Iterator[SourceEvent]:
        """Yield the number of pictures that were dropped since the last report, if there are any."""
        if self._damaged:
            yield SourceEvent(
                message=f"{self._address}: lost or damaged data cost {_count(self._damaged)} up to the next keyframe"
            )
            self._damaged = 0

    def _end(self, ending: str) -> Iterator[SourceEvent]:
        """Yield a message if a recording is cut short; raise SourceError for a live stream, which is lost.

        `ending` is the reason for the end; it is empty if the stream ended by itself.
        """
        if not self._finishes:
            raise SourceError(f"{self._address}: {ending or 'the stream ended'}")
        if not self._pictures:
            raise SourceError(f"{self._address}: {ending or 'it held no picture that can be decoded'}")
        shortfall = self._length.shortfall()
        if not self._is_file and (ending or not self._length.reached_end()):
            raise SourceError(f"{self._address}: {ending or 'it ended early'}{shortfall and f' ({shortfall})'}")
        if ending or shortfall:
            parts = [part for part in (ending, shortfall) if part]
            yield SourceEvent(message=f"{self._address}: it is cut short: {', '.join(parts)}")


class _SilentError(Exception):
    """A live stream sends data but no picture."""


def _reason(error: av.error.FFmpegError, timeout: float) -> str:
    if isinstance(error, (av.error.ExitError, av.error.TimeoutError)):
        return f"nothing came for {timeout:g} s"
    return error.strerror or type(error).__name__


def _count(frames: int) -> str:
    return "1 frame" if frames == 1 else f"{frames} frames"

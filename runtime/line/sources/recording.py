"""Which streams are recordings, that finish, and whether one was read to its end. All others are live, and are lost."""

from __future__ import annotations

from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

_LISTS_OF_STREAMS = frozenset({"hls", "dash"})
_LIVE_FORMATS = frozenset({"sdp", "rtsp", "rtp", "sap", "mpjpeg"})
_ANNOUNCE_LENGTH = frozenset({"mov", "matroska", "avi", "flv", "asf"})
"""Formats whose header tells how long they are; for others FFmpeg estimates it from what is there."""
_AFTER_LAST_PACKET = 1 << 16
"""Most bytes behind the beginning of a file's last picture, besides that picture: of sound and padding."""
_MOST_FRAMES = 0.9
"""Part of the frames that are announced with which a recording over a network can be whole."""


def is_recording(container: InputContainer, *, is_file: bool, is_http: bool) -> bool:
    """Return whether a stream is finished when it ends.

    A file is, and what comes over HTTP with a known length; a list of streams only as a file that tells its duration.
    A duration that any other transport announces means nothing: recorders announce the one of the day so far.
    """
    formats = set(container.format.name.split(","))
    if formats & _LIVE_FORMATS:
        return False
    if formats & _LISTS_OF_STREAMS:
        return is_file and container.duration is not None
    return is_file or (is_http and container.size > 0)


def is_end(packet: Packet[VideoStream]) -> bool:
    """Return whether a packet is the empty one that follows a stream's last; some files have empty ones inside."""
    return not packet.size and packet.pts is None and packet.dts is None


class ReadLength:
    """How much of a recording was read, beside what it announces."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._container, self._stream = container, stream
        self._announces = bool(set(container.format.name.split(",")) & _ANNOUNCE_LENGTH)
        self._packets = 0
        self._start: int | None = None
        self._end = 0
        self._last_byte: int | None = None

    def add(self, packet: Packet[VideoStream]) -> None:
        """Note a packet that was read."""
        if is_end(packet):
            return
        self._last_byte = None if packet.pos is None or packet.pos < 0 else packet.pos + packet.size
        if packet.is_corrupt:  # as half a one at the end
            return
        self._packets += 1
        if packet.pts is not None:
            self._start = packet.pts if self._start is None else min(self._start, packet.pts)
            self._end = max(self._end, packet.pts + (packet.duration or 0))

    def shortfall(self) -> str:
        """Return what is missing, as "71 of 120 frames"; nothing where all that was announced was read."""
        if not self._announces:
            return ""
        if self._packets < self._stream.frames:
            return f"{self._packets} of {self._stream.frames} frames"
        if self._is_too_short():
            return f"{self._read_seconds():.1f} s of {self._announced_seconds():.1f} s"
        return ""

    def reached_end(self) -> bool:
        """Return whether nothing is missing of a recording that comes over a network."""
        if self._announces:  # an index counts frames that a camera left out, too
            return not self._is_too_short() and self._packets >= _MOST_FRAMES * self._stream.frames
        return self._last_byte is not None and self._last_byte + _AFTER_LAST_PACKET >= self._container.size

    def _read_seconds(self) -> float:
        return 0.0 if self._start is None else float((self._end - self._start) * self._time_base)

    def _announced_seconds(self) -> float:
        if self._stream.duration is not None:
            return float(self._stream.duration * self._time_base)
        return (self._container.duration or 0) / 1e6

    def _is_too_short(self) -> bool:
        frame = 1.0 / float(self._stream.average_rate or 10)
        if self._stream.duration is not None:
            tolerance = 0.5 * frame
        else:  # what is announced is the longest stream's
            tolerance = 2.0 * frame if len(self._container.streams) == 1 else 1.0
        return self._announced_seconds() - self._read_seconds() > tolerance

    @property
    def _time_base(self) -> float:
        return float(self._stream.time_base or 0)

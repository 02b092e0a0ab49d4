"""Tells recordings, which finish, from live streams, which can only be lost. Checks that a recording was read whole."""

from __future__ import annotations

from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

_LISTS_OF_STREAMS = frozenset({"hls", "dash"})
_LIVE_FORMATS = frozenset({"sdp", "rtsp", "rtp", "sap", "mpjpeg"})
_ANNOUNCE_LENGTH = frozenset({"mov", "matroska", "avi", "flv", "asf"})
"""Formats whose header holds the length. For others, FFmpeg estimates the length from the bytes that are there."""
_AFTER_LAST_PACKET = 1 << 16
"""The most bytes of sound and padding after the last picture of a file."""
_MOST_FRAMES = 0.9
"""A recording over a network has ended early if a smaller share of its announced frames was read."""


def is_recording(container: InputContainer, *, is_file: bool, is_http: bool) -> bool:
    """Return whether a stream is a recording, which has finished when it ends.

    Files and HTTP responses of known length are recordings. A list of streams (HLS, DASH) is a recording only if it
    is a file that states its duration. A duration that another transport announces proves nothing:
    recorders announce the duration of the day so far.

    Args:
        container: The opened stream.
        is_file: Whether it was opened from a file.
        is_http: Whether it was opened over HTTP.
    """
    formats = set(container.format.name.split(","))
    if formats & _LIVE_FORMATS:
        return False
    if formats & _LISTS_OF_STREAMS:
        return is_file and container.duration is not None
    return is_file or (is_http and container.size > 0)


def is_end(packet: Packet[VideoStream]) -> bool:
    """Return whether a packet is the empty one after the last packet of a stream.

    Some files contain other empty packets, which have time stamps.

    Args:
        packet: The packet to check.
    """
    return not packet.size and packet.pts is None and packet.dts is None


class ReadLength:
    """Compares how much of a recording was read with what its header announces.

    Args:
        container: The opened recording.
        stream: Its video stream.
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._container, self._stream = container, stream
        self._announces = bool(set(container.format.name.split(",")) & _ANNOUNCE_LENGTH)
        self._packets = 0
        self._start: int | None = None
        self._end = 0
        self._last_byte: int | None = None

    def add(self, packet: Packet[VideoStream]) -> None:
        """Count a packet that was read.

        Args:
            packet: The packet, in the order of reading.
        """
        if is_end(packet):
            return
        self._last_byte = None if packet.pos is None or packet.pos < 0 else packet.pos + packet.size
        if packet.is_corrupt:  # such as half a packet at the end
            return
        self._packets += 1
        if packet.pts is not None:
            self._start = packet.pts if self._start is None else min(self._start, packet.pts)
            self._end = max(self._end, packet.pts + (packet.duration or 0))

    def shortfall(self) -> str:
        """Return how much of the announced length was read, as in "71 of 120 frames"; empty if nothing is missing."""
        if not self._announces:
            return ""
        if self._packets < self._stream.frames:
            return f"{self._packets} of {self._stream.frames} frames"
        if self._is_too_short():
            return f"{self._read_seconds():.1f} s of {self._announced_seconds():.1f} s"
        return ""

    def reached_end(self) -> bool:
        """Return whether a recording that comes over a network was read to its end."""
        if self._announces:  # an index also counts frames that the camera left out
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
        else:  # the announced duration is that of the longest stream
            tolerance = 2.0 * frame if len(self._container.streams) == 1 else 1.0
        return self._announced_seconds() - self._read_seconds() > tolerance

    @property
    def _time_base(self) -> float:
        return float(self._stream.time_base or 0)

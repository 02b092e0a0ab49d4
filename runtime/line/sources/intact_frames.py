"""Decodes a video stream and passes on only whole frames, never those in which the decoder concealed lost data.

Frames refer to earlier frames. Once a frame is damaged, all frames up to the next keyframe may be damaged too, even if
the decoder does not flag them. None of them is passed on.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import av
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from .frame_numbers import FrameNumbers
from .recording import is_end

_HELD = 4
"""Frames that are held back in streams with reordering, where a damaged frame may follow frames that refer to it."""
_DROPS_SILENTLY = frozenset({"h264", "hevc"})
"""Codecs whose decoders drop frames silently. Each of their packets holds a frame, so time stamps show the missing
ones."""
_MOST_PENDING = 64
"""More packets than any decoder takes in before it returns their frames."""


class Decoded(NamedTuple):
    """The result of decoding a packet.

    Attributes:
        lost: The number of frames that were lost.
        frames: The whole frames that follow them.
    """

    lost: int
    frames: list[VideoFrame]


class IntactFrames:
    """Decodes packets one after another and passes on only whole frames.

    Args:
        context: The stream's decoder, which has decoded nothing yet.
        is_live: Whether the stream is live. A live stream is joined at any point, so frames before its first keyframe
            do not count as lost.

    Attributes:
        waits_for_keyframe: Whether no frame is passed on before the next keyframe.
    """

    def __init__(self, context: VideoCodecContext, *, is_live: bool) -> None:
        self._context = context
        context.thread_count = 1  # each source has its own thread, and frame threads add delay
        if context.name == "mjpeg":
            context.options = {"err_detect": "explode"}  # otherwise half a picture is decoded with a grey end
        self._numbers = FrameNumbers(context.extradata) if context.name == "h264" else None
        self._finds_missing = context.name in _DROPS_SILENTLY
        self.waits_for_keyframe = True
        self._keyframe_sent = self._last_was_corrupt = False
        self._keyframe_time: int | None = None
        self._is_joining = is_live
        self._held: deque[VideoFrame] = deque()
        self._pending: set[int] = set()
        self._lost = 0

    def decode(self, packet: Packet[VideoStream]) -> Decoded:
        """Decode one packet.

        Args:
            packet: The packet. For the empty packet at the end of a stream, the remaining frames are returned.

        Returns:
            The whole frames that are ready, and the number of lost ones.
        """
        self._lost = 0
        frames = self._finish(packet) if is_end(packet) else self._decode(packet)
        if self._is_joining:
            self._lost = 0
            self._is_joining = not frames or self._keyframe_time is not None
        return Decoded(self._lost, frames)

    def _decode(self, packet: Packet[VideoStream]) -> list[VideoFrame]:
        if not packet.size:
            return []  # a frame that the camera left out
        misses_reference = self._numbers is not None and self._numbers.misses_reference(bytes(packet))
        # FFmpeg's parsers return a frame when they read the beginning of the next. If that packet is corrupt, they flag
        # the frame before it.
        is_corrupt, self._last_was_corrupt = packet.is_corrupt or self._last_was_corrupt, packet.is_corrupt
        if self._keyframe_sent and (is_corrupt or misses_reference):
            self._drop_until_keyframe()
        if not self._keyframe_sent:
            if is_corrupt or not packet.is_keyframe:
                self._lost += 1
                return []
            self._keyframe_sent, self._keyframe_time = True, packet.pts
        if self._leads(packet.pts):
            self._lost += 1  # it is shown before the keyframe and refers to frames before it
        elif self._finds_missing and packet.pts is not None and not packet.is_discard:
            self._pending.add(packet.pts)
        try:
            return self._take(self._context.decode(packet))
        except av.error.InvalidDataError:
            self._lost += packet.pts not in self._pending
            self._drop_until_keyframe()
            return []

    def _finish(self, packet: Packet[VideoStream]) -> list[VideoFrame]:
        """Return the remaining frames at the end of the stream."""
        try:
            frames = self._take(self._context.decode(packet)) if self._keyframe_sent else []
        except av.error.InvalidDataError:
            frames = []
        frames += self._held
        self._lost += len(self._pending)
        self._held.clear()
        self._pending.clear()
        return frames

    def _take(self, decoded: list[VideoFrame]) -> list[VideoFrame]:
        """Take frames from the decoder and return those to pass on now."""
        ready: list[VideoFrame] = []
        for number, frame in enumerate(decoded):
            self._count_missing(frame)
            if frame.is_corrupt:
                for rest in decoded[number:]:
                    self._pending.discard(rest.pts)
                self._lost += len(decoded) - number
                self._drop_until_keyframe()
                break
            if not frame.key_frame and self._leads(frame.pts):
                continue
            if self.waits_for_keyframe and not frame.key_frame and (frame.pts is None or self._keyframe_time is None):
                self._lost += 1
                continue
            self.waits_for_keyframe = False
            if not frame.key_frame:
                self._keyframe_time = None
            self._held.append(frame)
            while len(self._held) > (_HELD if self._context.has_b_frames else 0):
                ready.append(self._held.popleft())
        return ready

    def _leads(self, time: int | None) -> bool:
        """Return whether a frame is shown before the keyframe that the stream was joined at."""
        return time is not None and self._keyframe_time is not None and time < self._keyframe_time

    def _count_missing(self, frame: VideoFrame) -> None:
        """Count the frames before this one that are missing."""
        if frame.pts is None:
            return
        self._pending.discard(frame.pts)
        missing = {time for time in self._pending if time < frame.pts}
        self._pending -= missing
        if len(self._pending) > _MOST_PENDING:  # the stream's clock was set back
            missing |= self._pending
            self._pending = set()
        if not frame.interlaced_frame:  # the two fields of such a frame may be two packets
            self._lost += len(missing)

    def _drop_until_keyframe(self) -> None:
        """Drop all frames that are not passed on yet, as they may refer to damaged ones, and count them as lost."""
        self._lost += len(self._pending) + len(self._held)
        self._pending.clear()
        self._held.clear()
        self._context.flush_buffers()
        self.waits_for_keyframe, self._keyframe_sent, self._keyframe_time = True, False, None

"""Finds lost reference pictures in H.264 streams by the frame numbers in slice headers (ITU-T H.264, 7.3.3).

FFmpeg fills such a gap with copies of older pictures and does not flag them, so that all pictures up to the next
keyframe show wrong contents. H.265 needs no such check: each slice names its references, and FFmpeg drops pictures
whose references are missing.
"""

from __future__ import annotations

from collections.abc import Iterator

_SLICE, _IDR_SLICE, _SPS = 1, 5, 7
_HEAD = 96
"""Bytes of a NAL unit that are read. The fields that are needed lie within them, in a slice header as well as in a
sequence parameter set without scaling lists."""
_HIGH_PROFILES = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})


class FrameNumbers:
    """Follows the frame numbers of one H.264 stream.

    Args:
        extradata: The decoder configuration from the container, in the form of MP4 ("avcC") or with start codes; None
            if there is none.
    """

    def __init__(self, extradata: bytes | None) -> None:
        self._length_bytes = 0
        self._number_bits = 0
        self._gaps_allowed = False
        self._colour_planes = False
        self._last: int | None = None
        if extradata and extradata[0] == 1 and len(extradata) > 8:
            self._length_bytes = (extradata[4] & 3) + 1
            self._read_sequence(extradata[8:])
        elif extradata:
            self.misses_reference(extradata)

    def misses_reference(self, packet: bytes) -> bool:
        """Return whether reference pictures are missing between this packet's picture and the one before it.

        The answer is False for a stream whose parameters are unknown or allow gaps in the numbers.

        Args:
            packet: The bytes of the packet.
        """
        try:
            return self._follow(packet)
        except (IndexError, ValueError):  # the packet is cut short, which the decoder reports
            return False

    def _follow(self, packet: bytes) -> bool:
        for unit in self._units(packet):
            kind = unit[0] & 31
            if kind == _SPS:
                self._read_sequence(unit)
            elif kind in (_SLICE, _IDR_SLICE):
                return self._follow_slice(unit)
        return False

    def _follow_slice(self, unit: bytes) -> bool:
        if not self._number_bits:
            return False
        bits = _Bits(unit[1:])
        for _ in ("first_mb_in_slice", "slice_type", "pic_parameter_set_id"):
            bits.exponential()
        bits.take(2 if self._colour_planes else 0)
        number = bits.take(self._number_bits)
        last, is_reference = self._last, unit[0] >> 5 & 3
        if is_reference:
            self._last = number
        if unit[0] & 31 == _IDR_SLICE or last is None or self._gaps_allowed:
            return False
        return number not in (last, (last + 1) % (1 << self._number_bits))

    def _read_sequence(self, unit: bytes) -> None:
        """Read from a sequence parameter set how slices write their frame numbers."""
        self._number_bits = 0
        bits = _Bits(unit[1:])
        profile = bits.take(8)
        bits.take(16)
        bits.exponential()  # seq_parameter_set_id
        self._colour_planes = False
        if profile in _HIGH_PROFILES:
            chroma = bits.exponential()
            self._colour_planes = chroma == 3 and bool(bits.take(1))
            bits.exponential()
            bits.exponential()  # bit depths
            bits.take(1)
            if bits.take(1):
                for index in range(12 if chroma == 3 else 8):
                    if bits.take(1):
                        _skip_scaling_list(bits, 16 if index < 6 else 64)
        number_bits = bits.exponential() + 4
        order = bits.exponential()
        if order == 0:
            bits.exponential()
        elif order == 1:
            bits.take(1)
            for _ in range(2):
                bits.exponential()
            for _ in range(bits.exponential()):
                bits.exponential()
        bits.exponential()  # max_num_ref_frames
        self._gaps_allowed = bool(bits.take(1))
        self._number_bits = number_bits

    def _units(self, packet: bytes) -> Iterator[bytes]:
        """Yield the first bytes of a packet's NAL units, without emulation prevention bytes."""
        if self._length_bytes:
            place = 0
            while place + self._length_bytes < len(packet):
                start = place + self._length_bytes
                place = start + int.from_bytes(packet[place:start], "big")
                yield _unescaped(packet[start : min(place, start + _HEAD)])
            return
        start = packet.find(b"\0\0\1") + 3
        while start >= 3 and start < len(packet):
            end = packet.find(b"\0\0\1", start)
            yield _unescaped(packet[start : start + _HEAD if end < 0 else min(end, start + _HEAD)])
            start = end + 3


def _unescaped(unit: bytes) -> bytes:
    return unit.replace(b"\0\0\3", b"\0\0")


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    scale, next_scale = 8, 8
    for _ in range(size):
        if next_scale:
            code = bits.exponential()
            next_scale = (scale + ((code + 1) // 2 if code % 2 else -(code // 2))) % 256
        scale = next_scale or scale


class _Bits:
    """Reads numbers from bytes, the highest bit first. Beyond the end it raises ValueError."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        """Return the next `count` bits as a number."""
        if count > self._left:
            raise ValueError("no more bits")
        self._left -= count
        return self._value >> self._left & ((1 << count) - 1)

    def exponential(self) -> int:
        """Return the next number, in unsigned exponential-Golomb code."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)

"""Which H.264 pictures refer to pictures that were lost on the way, by the frame numbers in their slice headers.

FFmpeg fills such gaps with copies of older pictures and flags nothing, so that every picture up to the next keyframe
shows what was elsewhere before. H.265 names its references in each slice, and FFmpeg drops what misses one.
"""

from __future__ import annotations

from collections.abc import Iterator

_SLICE, _IDR_SLICE, _SPS = 1, 5, 7
_HEAD = 96
"""Bytes of a unit that are read: more than any slice's header up to the frame number, or a sequence's without scaling
lists, needs."""
_HIGH_PROFILES = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})


class FrameNumbers:
    """Follows the frame numbers of one H.264 stream.

    extradata: what the container tells the decoder beforehand: in the form of MP4 ("avcC") or with start codes.
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
        """Return whether reference pictures between this packet's picture and the one before it are missing.

        A stream that does not tell, or that may leave numbers out, never misses any.
        """
        try:
            return self._follow(packet)
        except (IndexError, ValueError):  # cut short; the decoder tells
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
        """Take from a sequence parameter set how slices write their frame numbers."""
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
        """Yield the beginnings of a packet's units, without the bytes that keep start codes out of them."""
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
    """Reads numbers from bytes, the highest bit first. Raises ValueError beyond the end."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        """Return the next `count` bits as a number."""
        if count > self._left:
            raise ValueError("no more bits")
        self._left -= count
        return self._value >> self._left & ((1 << count) - 1)

    def exponential(self) -> int:
        """Return the next number in exponential Golomb code."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)

"""Checks of a picture file's bytes for signs that the file was not completely written."""

from __future__ import annotations

from ...core.errors import ImageError

_LEAST_ZEROS = 4096
_LARGE_PART = 16
"""Zeros at the end are suspicious from 4096 bytes and from a sixteenth of the file on."""
_JPEG_BEGIN, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


def count_trailing_zeros(data: bytes) -> int:
    """Return the number of zero bytes at the end of a file, which may be preallocated and not filled yet.

    Fewer than 4 KiB, or less than a sixteenth of the file, count as 0.

    Args:
        data: The bytes of the file.
    """
    zeros = len(data) - len(data.rstrip(b"\0"))
    return zeros if zeros >= max(_LEAST_ZEROS, len(data) // _LARGE_PART) else 0


def require_end(data: bytes, name: str) -> None:
    """Require that a JPEG does not end in zeros without an end marker, because decoders read the zeros as pixels.

    Args:
        data: The bytes of the file, of any format.
        name: The name of the file, for the message.

    Raises:
        ImageError: A JPEG ends in zeros without an end marker.
    """
    if data.startswith(_JPEG_BEGIN) and data.endswith(b"\0") and not data.rstrip(b"\0").endswith(_JPEG_END):
        raise ImageError(f"{name} ends in zeros before its end marker: it was not completely written")

"""Whether the bytes of a picture file were completely written, as far as they tell."""

from __future__ import annotations

from ...core.errors import ImageError

_LEAST_ZEROS = 4096
_LARGE_PART = 16
"""Zeros that end a file are suspicious from one part in so many of it."""
_JPEG_BEGIN, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


def count_trailing_zeros(data: bytes) -> int:
    """Return how many zeros a file ends in, where they are so many that it may be preallocated and not filled yet.

    Fewer than 4 KiB, or than a sixteenth of the file, count as none.
    """
    zeros = len(data) - len(data.rstrip(b"\0"))
    return zeros if zeros >= max(_LEAST_ZEROS, len(data) // _LARGE_PART) else 0


def require_end(data: bytes, name: str) -> None:
    """Raise ImageError for a JPEG that ends in zeros instead of its end marker; decoders take those for pixels."""
    if data.startswith(_JPEG_BEGIN) and data.endswith(b"\0") and not data.rstrip(b"\0").endswith(_JPEG_END):
        raise ImageError(f"{name} ends in zeros before its end marker: it was not completely written")

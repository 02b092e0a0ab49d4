"""Photos that somebody drops into the page: of which formats and sizes they may be."""

from __future__ import annotations

import io
import threading
import warnings
from typing import NamedTuple

from PIL import Image

from ..core.errors import ImageError
from ..core.image_files import MARK
from ..core.preprocess import Array8, decode

LARGEST_PHOTO = 32 << 20
"""Bytes of a photo's file."""
MOST_PIXELS = 64_000_000
_SUFFIXES = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "TIFF": ".tif", "BMP": ".bmp", "WEBP": ".webp"}
_OPENED = ("JPEG", "PNG", "TIFF", "BMP", "WEBP")
"""Decoders that a dropped file gets to see; the JPEG one finds the format MPO by itself."""
_decoding = threading.Lock()
"""One photo is decoded at a time: each may take hundreds of megabytes."""


class DroppedPhoto(NamedTuple):
    """A photo that is kept as it came: the ending of its file's name, its bytes, its pixels uint8 RGB [H,W,3]."""

    suffix: str
    data: bytes
    pixels: Array8


def read_photo(data: bytes, name: str) -> DroppedPhoto:
    """Decode a photo, whatever it pretends to be.

    Args:
        data: The bytes of its file.
        name: What errors call it.

    Raises:
        ImageError: It is of another format, too large, damaged, or a drawing of goodparts' own.
    """
    suffix = _SUFFIXES[_read_format(data, name)]
    with _decoding:
        return DroppedPhoto(suffix, data, decode(data, name))


def _read_format(data: bytes, name: str) -> str:
    """Return the format that the header tells; only decoders of the accepted formats see the bytes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=_OPENED)
    except Image.DecompressionBombError:
        raise ImageError(f"{name} is too large: up to {MOST_PIXELS // 10**6} megapixels are accepted") from None
    except Exception:  # decoders raise nearly any at what is none of theirs
        raise ImageError(f"{name} is no picture of a known format: JPEG, PNG, TIFF, BMP and WebP are") from None
    with image:
        if image.width * image.height > MOST_PIXELS:
            raise ImageError(
                f"{name} has {image.width}×{image.height} pixels: up to {MOST_PIXELS // 10**6} megapixels are accepted"
            )
        if image.info.get("Software") == MARK:
            raise ImageError(f"{name} is a drawing of goodparts, not a photo of a part")
        return str(image.format)

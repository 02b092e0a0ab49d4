"""Photos that are dropped into the page: checks of their format and size, and decoding."""

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
"""The size of the largest accepted photo file, in bytes."""
MOST_PIXELS = 64_000_000
"""The most pixels of an accepted photo."""
_SUFFIXES = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "TIFF": ".tif", "BMP": ".bmp", "WEBP": ".webp"}
_OPENED = ("JPEG", "PNG", "TIFF", "BMP", "WEBP")
"""The decoders that may read a dropped file. The decoder for JPEG recognises MPO too."""
_decoding = threading.Lock()
"""Lets one photo be decoded at a time, because each may take hundreds of megabytes of memory."""


class DroppedPhoto(NamedTuple):
    """A photo that was dropped into the page.

    Attributes:
        suffix: The ending that its file gets, such as ".jpg".
        data: The bytes of its file, unchanged.
        pixels: The photo, [height, width, 3], uint8, RGB.
    """

    suffix: str
    data: bytes
    pixels: Array8


def read_photo(data: bytes, name: str) -> DroppedPhoto:
    """Decode a photo. Its bytes decide its format; the ending of its name does not.

    Args:
        data: The bytes of its file.
        name: The photo's name in errors.

    Returns:
        The photo.

    Raises:
        ImageError: The file is of another format, too large, damaged, or a picture that goodparts drew.
    """
    suffix = _SUFFIXES[_read_format(data, name)]
    with _decoding:
        return DroppedPhoto(suffix, data, decode(data, name))


def _read_format(data: bytes, name: str) -> str:
    """Return the format that the file's header shows. Only decoders of the accepted formats read the bytes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=_OPENED)
    except Image.DecompressionBombError:
        raise ImageError(f"{name} is too large: up to {MOST_PIXELS // 10**6} megapixels are accepted") from None
    except Exception:  # decoders raise almost any exception at bytes of another format
        raise ImageError(
            f"{name} is no picture of a known format: JPEG, PNG, TIFF, BMP and WebP are accepted"
        ) from None
    with image:
        if image.width * image.height > MOST_PIXELS:
            raise ImageError(
                f"{name} has {image.width}×{image.height} pixels: up to {MOST_PIXELS // 10**6} megapixels are accepted"
            )
        if image.info.get("Software") == MARK:
            raise ImageError(f"{name} is a drawing of goodparts, not a photo of a part: give the photo itself")
        return str(image.format)

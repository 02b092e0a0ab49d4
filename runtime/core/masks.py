"""Masks: pictures that mark pixels. Drawing programs store the marks in different ways.

A mask is bright where a pixel is marked and dark elsewhere. It may have the values 0 and 255, the values 0 and 1,
16-bit or float values, a shape that only its transparency shows, or the colours of a palette, like the masks of the VOC
data set.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from .errors import ImageError
from .files import printable, read_bytes
from .preprocess import opened

Marks = npt.NDArray[np.bool_]

_LOSSY = frozenset({"JPEG", "MPO", "WEBP"})
"""Lossy formats, which change values a little. In these formats a pixel is marked if its value is above 127."""

GREY = 0.2, 0.8
"""A pixel of a mask is grey if its brightness is between these shares of the brightest pixel's."""
MOST_GREY = 0.1
"""The largest share of grey pixels in a mask that tells where to look."""


def read_marks(path: Path) -> Marks:
    """Return which pixels a mask file marks, [height, width], bool, turned as its EXIF orientation requires.

    Args:
        path: The mask file.

    Raises:
        ImageError: The file is no picture.
    """
    name = printable(path)
    with opened(read_bytes(path), name) as image:
        return marked(image)


def marked(image: Image.Image) -> Marks:
    """Return which pixels of a mask are marked, [height, width], bool.

    A pixel is marked if it is brighter than half of the mask's brightest pixel (see `brightness`), or in a lossy format
    if it is brighter than 127. With a palette of colours, a pixel is marked if it is not black.

    Args:
        image: The mask.
    """
    values = brightness(image)
    if _is_colourful_palette(image):
        return np.asarray(values > 0)
    level = 127.0 if image.format in _LOSSY else float(values.max()) / 2
    return np.asarray(values > level)


def brightness(image: Image.Image) -> npt.NDArray[np.floating]:
    """Return how bright each pixel of a mask is, [height, width], float, in the units of the file.

    It is the largest of the pixel's channels, and 0 where the pixel is transparent. If all visible pixels have one
    brightness and the opacity varies, it is the opacity, 0 to 255.

    Args:
        image: The mask.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        return np.nan_to_num(np.asarray(image, np.float64), posinf=np.finfo(np.float64).max, neginf=0.0)
    rgba = np.asarray(image.convert("RGBA"), np.float32)
    colour, opacity = rgba[..., :3].max(axis=2), rgba[..., 3]
    visible = colour[opacity > 0]
    if opacity.min() < opacity.max() and (not visible.size or visible.min() == visible.max()):
        return opacity
    return np.asarray(np.where(opacity > 0, colour, np.float32(0)), np.float32)


def defect_numbers(image: Image.Image) -> npt.NDArray[np.floating]:
    """Return the number of the defect that each pixel of a mask stores, [height, width], float; 0 means none.

    It is the palette's index for a palette of colours, like VOC's, and the brightness for every other picture.

    Args:
        image: The mask.
    """
    return np.asarray(image, np.float32) if _is_colourful_palette(image) else brightness(image)


def describe_values(image: Image.Image) -> str:
    """Return the values and the mode of a mask, for an error message. At most eight values are listed.

    Args:
        image: The mask.
    """
    values = np.unique(np.asarray(image).reshape(-1))
    listed = " ".join(f"{value:g}" for value in values[:8]) + (" …" if len(values) > 8 else "")
    return f"values {listed}, mode {image.mode}"


def require_shape(marks: Marks, image: Image.Image, name: str) -> None:
    """Check that a mask tells where to look: it marks some pixels but not all, and hardly any pixel is grey.

    A pixel is grey if its brightness is between GREY's shares of the brightest pixel's.

    Args:
        marks: The pixels that the mask marks (`marked`), [height, width], bool.
        image: The mask.
        name: The mask's name in the error.

    Raises:
        ImageError: The mask marks no pixel, or every pixel, or more than MOST_GREY of its pixels are grey.
    """
    if marks.all() or not marks.any():
        what = "marks every pixel" if marks.all() else "marks no pixel"
        raise ImageError(
            f"mask {name} {what} ({describe_values(image)}): it must be bright where to look and dark elsewhere"
        )
    if _is_colourful_palette(image):
        return
    values = brightness(image)
    dark, bright = (share * values.max() for share in GREY)
    grey = float(((values > dark) & (values < bright)).mean())
    if grey > MOST_GREY:
        raise ImageError(
            f"mask {name}: {100 * grey:.0f} % of its pixels are grey (with {100 * GREY[0]:.0f} to {100 * GREY[1]:.0f} "
            f"% of the brightest pixel's brightness); at most {100 * MOST_GREY:.0f} % may be. Is it a photo? Give a "
            "picture that is white where to look and black elsewhere"
        )


def _is_colourful_palette(image: Image.Image) -> bool:
    if image.mode not in ("P", "PA"):
        return False
    colours = np.asarray(image.convert("RGB"))
    return bool((colours != colours[..., :1]).any())

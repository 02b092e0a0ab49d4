"""Masks: pictures that mark pixels, however the program that drew them stores the mark.

A mask is dark where nothing is marked and bright where something is. That holds for values 0 and 255 as well as for 0
and 1, 16-bit and float values; for a shape that only the transparency has; and for the colours of a palette, as VOC's.
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
"""Formats that change values a little: in them only the brighter half of all values marks."""


def read_marks(path: Path) -> Marks:
    """Return which pixels a mask file marks, bool [H,W], turned as its EXIF orientation says.

    Raises ImageError for a file that is no picture.
    """
    name = printable(path)
    with opened(read_bytes(path), name) as image:
        return marked(image)


def marked(image: Image.Image) -> Marks:
    """Return which pixels of a mask are marked, bool [H,W]: those brighter than half of its brightest pixel.

    Of a picture in one colour the opacity counts instead; of a palette in colours, every colour but black.
    """
    values = brightness(image)
    if _is_colourful_palette(image):
        return np.asarray(values > 0)
    level = 127.0 if image.format in _LOSSY else float(values.max()) / 2
    return np.asarray(values > level)


def brightness(image: Image.Image) -> npt.NDArray[np.floating]:
    """Return how bright each pixel of a mask is, float [H,W]: the largest channel, 0 where it is transparent."""
    if image.mode == "F" or image.mode.startswith("I"):
        return np.nan_to_num(np.asarray(image, np.float64), posinf=np.finfo(np.float64).max, neginf=0.0)
    rgba = np.asarray(image.convert("RGBA"), np.float32)
    colour, opacity = rgba[..., :3].max(axis=2), rgba[..., 3]
    visible = colour[opacity > 0]
    if opacity.min() < opacity.max() and (not visible.size or visible.min() == visible.max()):
        return opacity
    return np.asarray(np.where(opacity > 0, colour, np.float32(0)), np.float32)


def defect_numbers(image: Image.Image) -> npt.NDArray[np.floating]:
    """Return the number of the defect that each pixel of a mask stores, float [H,W]; 0 where there is none.

    It is the index of a palette in colours, as VOC's, and the brightness of every other picture.
    """
    return np.asarray(image, np.float32) if _is_colourful_palette(image) else brightness(image)


def describe_values(image: Image.Image) -> str:
    """Return the values that a mask holds, for an error: up to eight of them, with its mode."""
    values = np.unique(np.asarray(image).reshape(-1))
    listed = " ".join(f"{value:g}" for value in values[:8]) + (" …" if len(values) > 8 else "")
    return f"values {listed}, mode {image.mode}"


def require_shape(marks: Marks, image: Image.Image, name: str) -> None:
    """Raise ImageError for a mask that marks nothing, or everything: it would say nothing of where to look."""
    if marks.all() or not marks.any():
        what = "marks every pixel" if marks.all() else "marks no pixel"
        raise ImageError(
            f"mask {name} {what} ({describe_values(image)}): it must be bright where to look and dark elsewhere"
        )


def _is_colourful_palette(image: Image.Image) -> bool:
    if image.mode not in ("P", "PA"):
        return False
    colours = np.asarray(image.convert("RGB"))
    return bool((colours != colours[..., :1]).any())

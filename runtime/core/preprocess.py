"""From a file or a camera frame to uint8 RGB, and from there to the square the encoder reads.

The one definition of preprocessing, for trainer and runtime alike: Pillow's bicubic filter with
antialiasing, in one step. No value is ever guessed at ("max > 1 → divide"): the dtype decides.
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from . import native
from .errors import GoodpartsError, ImageError, first_line
from .files import printable, read_bytes, reading
from .yuv import YuvFrame

Array8 = npt.NDArray[np.uint8]
Picture = str | os.PathLike[str] | Image.Image | npt.NDArray[np.generic] | YuvFrame

Frame = TypeVar("Frame", Array8, YuvFrame)

MIN_SIDE = 8
"""Pixels; a smaller picture is refused: nothing can be inspected in it."""

_ORIENTATION, _TIFF_WIDTH, _TIFF_HEIGHT = 0x0112, 0x0100, 0x0101
"""Tags of EXIF and TIFF."""
_SIDES_EXCHANGED = frozenset({5, 6, 7, 8})
"""EXIF orientations that exchange width and height."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → what makes the picture upright."""
_SIXTEEN_BIT = frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I"})


def load_rgb(picture: Picture) -> Array8:
    """Read any accepted picture as uint8 RGB [H,W,3].

    Accepted: a path; a Pillow image; a YuvFrame; an array uint8 or uint16 of [H,W] (grey), [H,W,1], [H,W,3] (RGB) or
    [H,W,4] (RGBA). EXIF orientation is applied. Grey is repeated over the channels; transparency is
    dropped, its colours kept; palettes, CMYK and other colour spaces go through Pillow's conversion to
    RGB; 16-bit grey and 16-bit arrays are divided by 257, so that 65535 becomes 255 whatever the picture holds
    (of 16-bit colour files Pillow hands out the upper byte).

    Raises ImageError for anything else, FileError for a file that cannot be read.
    """
    if isinstance(picture, np.ndarray):
        return _large_enough(_array_to_rgb(picture), "picture")
    if isinstance(picture, YuvFrame):
        return _large_enough(picture.rgb(), "picture")
    if isinstance(picture, Image.Image):
        with _decoding("picture"):
            _require_one_frame(picture, "picture")
            return _large_enough(_image_to_rgb(_upright(picture), "picture"), "picture")
    if isinstance(picture, (str, os.PathLike)):
        return decode(read_bytes(Path(picture)), printable(Path(picture)))
    raise ImageError(f"picture is a {type(picture).__name__}: a path, a Pillow image or a numpy array is accepted")


def read_size(path: Path) -> tuple[int, int]:
    """Return width and height of a picture file in pixels, turned as its EXIF orientation says; reads only the header.

    Raises ImageError for a file that is no picture, FileError for one that cannot be read.
    """
    name = printable(path)
    with reading(path) as file, _decoding(name), Image.open(file) as image:
        width, height = image.size
        if image.format == "TIFF":  # Pillow 13 gives the size turned already, earlier versions as stored
            tags = cast(Any, image).tag_v2
            width, height = int(tags[_TIFF_WIDTH]), int(tags[_TIFF_HEIGHT])
        return (height, width) if _orientation(image) in _SIDES_EXCHANGED else (width, height)


def decode(data: bytes, name: str) -> Array8:
    """Decode the bytes of a picture file to uint8 RGB [H,W,3]; `name` is how errors call it."""
    with opened(data, name) as image:
        return _large_enough(_image_to_rgb(image, name), name)


@contextlib.contextmanager
def opened(data: bytes, name: str) -> Iterator[Image.Image]:
    """Yield the picture in a file's bytes, decoded and upright.

    Whatever a decoder raises, also while the block converts the picture, becomes an ImageError that names the file.
    """
    if not data:
        raise ImageError(f"{name} is empty (0 bytes)")
    with _decoding(name), Image.open(io.BytesIO(data)) as image:
        _require_one_frame(image, name)
        with contextlib.suppress(Exception):  # EXIF that cannot be read says nothing; the pixels may be fine
            exif = image.getexif()
            for tag in [tag for tag in exif if tag != _ORIENTATION]:
                del exif[tag]  # Pillow turns a TIFF while it loads it, and writes what is left here again
        yield _upright(image)


@contextlib.contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Turn every exception inside into an ImageError; decoders raise nearly any at damaged files."""
    try:
        with warnings.catch_warnings():
            # Pillow warns from 89 megapixels on, which are fine here, and of damage, which is an error if it matters.
            warnings.simplefilter("ignore")
            yield
    except GoodpartsError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"{name} is not a picture in a known format: JPEG, PNG, TIFF, BMP and WebP are") from None
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        raise ImageError(f"{name} is too large: up to {limit:.0f} megapixels are accepted") from None
    except Exception as error:
        raise ImageError(f"{name} is damaged or cut short: {first_line(error)}") from error


def _require_one_frame(image: Image.Image, name: str) -> None:
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # MPO: a phone's photo with a preview behind it
        raise ImageError(f"{name} holds {frames} frames: save the one to inspect as a picture of its own")


def _upright(image: Image.Image) -> Image.Image:
    """Load a picture and return it turned as its EXIF orientation says.

    Pillow's own way writes all of the EXIF again, and fails where a camera wrote it badly.
    """
    image.load()
    orientation = _orientation(image)  # none in a TIFF, which Pillow has turned by now
    if orientation not in _TURNS:
        return image
    turned = image.transpose(_TURNS[orientation])
    turned.format = image.format
    return turned


def _orientation(image: Image.Image) -> int | None:
    """Return the EXIF orientation; None where there is none that can be read."""
    with contextlib.suppress(Exception):
        return int(image.getexif()[_ORIENTATION])
    return None


def load_frame(picture: Picture) -> Array8 | YuvFrame:
    """Read any accepted picture as load_rgb does, but leave a YuvFrame as it is."""
    return _large_enough(picture, "picture") if isinstance(picture, YuvFrame) else load_rgb(picture)


def _large_enough(rgb: Frame, name: str) -> Frame:
    height, width = rgb.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise ImageError(f"{name} is {width}×{height} pixels: at least {MIN_SIDE}×{MIN_SIDE} is needed")
    return rgb


def _image_to_rgb(image: Image.Image, name: str) -> Array8:
    if image.mode in _SIXTEEN_BIT:
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ImageError(f"{name} has values {values.min()}…{values.max()}: 8 or 16 bits per channel are accepted")
        return _array_to_rgb(values.astype(np.uint16))
    if image.mode == "F":
        raise ImageError(f"{name} holds 32-bit floats: 8 or 16 bits per channel are accepted")
    return np.asarray(image.convert("RGB"))


def _array_to_rgb(array: npt.NDArray[np.generic]) -> Array8:
    if array.dtype == np.uint16:
        eight = ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif array.dtype == np.uint8:
        eight = array.view(np.uint8)
    else:
        raise ImageError(f"picture has dtype {array.dtype}: uint8 and uint16 are accepted; convert it explicitly")
    if eight.ndim == 2:
        eight = eight[:, :, None]
    if eight.ndim != 3 or eight.shape[2] not in (1, 3, 4):
        raise ImageError(f"picture has shape {array.shape}: [H,W], [H,W,1], [H,W,3] and [H,W,4] are accepted")
    return np.repeat(eight, 3, axis=2) if eight.shape[2] == 1 else eight[:, :, :3]


def resize(rgb: Array8, size: tuple[int, int], threads: int | None = None) -> Array8:
    """Resample uint8 RGB [H,W,3] to `size` (height, width): bicubic, antialiased (Pillow's), across, then down.

    The C++ core gives the same bytes sooner, on up to `threads` processors, None for all.
    """
    core = native.core()
    if core is None:
        image = Image.fromarray(np.ascontiguousarray(rgb))
        # One axis at a time: left to itself Pillow 13 begins with the other one for some shapes, and rounds otherwise.
        across = image.resize((size[1], image.height), Image.Resampling.BICUBIC)
        return np.asarray(across.resize((size[1], size[0]), Image.Resampling.BICUBIC))
    row, *pixel = rgb.strides
    if pixel != [3, 1] or row < 3 * rgb.shape[1]:
        rgb = np.ascontiguousarray(rgb)
    resized: Array8 = core.resize(rgb, size, threads=threads or 0)
    return resized

"""Preprocessing: from a file or a camera frame to uint8 RGB, and from there to the square that the encoder reads.

Trainer and runtime both use this one definition: Pillow's bicubic filter with antialiasing, in one step. Values are
scaled by their dtype only. No rule such as "divide if the maximum is above 1" guesses their range.
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
"""The smallest accepted height and width, in pixels: in a smaller picture nothing can be inspected."""

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
"""EXIF orientation → the operation that makes the picture upright."""
_SIXTEEN_BIT = frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I"})


def load_rgb(picture: Picture) -> Array8:
    """Read any accepted picture as uint8 RGB.

    EXIF orientation is applied. Grey is repeated over the three channels. Transparency is dropped, and its colours are
    kept. Pillow converts palettes, CMYK and other colour spaces to RGB. 16-bit grey files and 16-bit arrays are divided
    by 257, so that 65535 always becomes 255. Of 16-bit colour files Pillow gives only the upper byte.

    Args:
        picture: A path; a Pillow image; a YuvFrame; or an array, uint8 or uint16, of shape [H,W] (grey), [H,W,1],
            [H,W,3] (RGB) or [H,W,4] (RGBA).

    Returns:
        The picture, [height, width, 3], uint8, RGB.

    Raises:
        ImageError: The picture is damaged, too small, or of a kind that is not accepted.
        FileError: The file cannot be read.
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
    """Return width and height of a picture file, in pixels, after its EXIF orientation. Only the header is read.

    Args:
        path: The file.

    Raises:
        ImageError: The file is no picture.
        FileError: The file cannot be read.
    """
    name = printable(path)
    with reading(path) as file, _decoding(name), Image.open(file) as image:
        width, height = image.size
        if image.format == "TIFF":  # Pillow 13 gives the size after turning, earlier versions as stored
            tags = cast(Any, image).tag_v2
            width, height = int(tags[_TIFF_WIDTH]), int(tags[_TIFF_HEIGHT])
        return (height, width) if _orientation(image) in _SIDES_EXCHANGED else (width, height)


def decode(data: bytes, name: str) -> Array8:
    """Decode the bytes of a picture file.

    Args:
        data: The file's bytes.
        name: The file's name in errors.

    Returns:
        The picture, [height, width, 3], uint8, RGB, upright.

    Raises:
        ImageError: The bytes are no accepted picture, or it is damaged or too small.
    """
    with opened(data, name) as image:
        return _large_enough(_image_to_rgb(image, name), name)


@contextlib.contextmanager
def opened(data: bytes, name: str) -> Iterator[Image.Image]:
    """Yield the picture in a file's bytes, decoded and upright.

    Args:
        data: The file's bytes.
        name: The file's name in errors.

    Raises:
        ImageError: The bytes are no accepted picture, or a decoder failed, also one that the block called.
    """
    if not data:
        raise ImageError(f"{name} is empty (0 bytes)")
    with _decoding(name), Image.open(io.BytesIO(data)) as image:
        _require_one_frame(image, name)
        with contextlib.suppress(Exception):  # the pixels may be fine even if the EXIF cannot be read
            exif = image.getexif()
            for tag in [tag for tag in exif if tag != _ORIENTATION]:
                del exif[tag]  # Pillow turns a TIFF while loading it, and then writes the remaining tags again
        yield _upright(image)


@contextlib.contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Turn any exception of the block into an ImageError. Decoders raise almost any exception at damaged files."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of pictures above 89 megapixels, which are accepted here, and of damage, which raises an
            # error if it matters.
            warnings.simplefilter("ignore")
            yield
    except GoodpartsError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"{name} is not a picture in a known format: use JPEG, PNG, TIFF, BMP or WebP") from None
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
    """Load a picture and return it turned as its EXIF orientation requires.

    Pillow's own function writes all of the EXIF again, and fails if a camera wrote it badly.
    """
    image.load()
    orientation = _orientation(image)  # None for a TIFF, because Pillow turned it while loading
    if orientation not in _TURNS:
        return image
    turned = image.transpose(_TURNS[orientation])
    turned.format = image.format
    return turned


def _orientation(image: Image.Image) -> int | None:
    """Return the EXIF orientation; None if there is none or it cannot be read."""
    with contextlib.suppress(Exception):
        return int(image.getexif()[_ORIENTATION])
    return None


def load_frame(picture: Picture) -> Array8 | YuvFrame:
    """Read any accepted picture as load_rgb does, but return a YuvFrame unchanged.

    Args:
        picture: A picture, as for load_rgb.

    Returns:
        The picture, [height, width, 3], uint8, RGB; or the given YuvFrame.

    Raises:
        ImageError: The picture is damaged, too small, or of a kind that is not accepted.
        FileError: The file cannot be read.
    """
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
    """Resample a picture with Pillow's bicubic filter and antialiasing, first across, then down.

    The C++ core gives the same bytes faster.

    Args:
        rgb: The picture, [height, width, 3], uint8, RGB.
        size: The new height and width, in pixels.
        threads: The most threads that the C++ core uses; None means one for each processor.

    Returns:
        The resampled picture, [*size, 3], uint8, RGB.
    """
    core = native.core()
    if core is None:
        image = Image.fromarray(np.ascontiguousarray(rgb))
        # Resize one axis at a time: by default Pillow 13 begins with the other axis for some shapes, which changes the
        # rounding.
        across = image.resize((size[1], image.height), Image.Resampling.BICUBIC)
        return np.asarray(across.resize((size[1], size[0]), Image.Resampling.BICUBIC))
    row, *pixel = rgb.strides
    if pixel != [3, 1] or row < 3 * rgb.shape[1]:
        rgb = np.ascontiguousarray(rgb)
    resized: Array8 = core.resize(rgb, size, threads=threads or 0)
    return resized

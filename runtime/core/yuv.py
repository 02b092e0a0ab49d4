"""YUV frames, as many cameras and decoders give them: pixels share their colour in groups of two or four."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from . import native
from .errors import ImageError

YuvFormat = Literal["nv12", "yuyv"]


@dataclass(frozen=True, eq=False)
class YuvFrame:
    """A frame in YUV, BT.601 in limited range. A GPU reads it directly; for a CPU it is converted to RGB first.

    Attributes:
        pixels: uint8. nv12 is [H·3/2,W]: H rows of Y, then H/2 rows of pairs of U and V; H and W are even. yuyv is
            [H,W,2]: each pixel has Y and, alternately, U or V; W is even. Rows need not be contiguous in memory.
        format: The layout of the pixels.

    Raises:
        ImageError: The format is unknown, or the pixels do not have its layout.
    """

    pixels: npt.NDArray[np.uint8]
    format: YuvFormat

    def __post_init__(self) -> None:
        if self.format not in get_args(YuvFormat):
            raise ImageError(f"format {self.format!r}: nv12 and yuyv are accepted; give other frames as RGB")
        shape, is_nv12 = self.pixels.shape, self.format == "nv12"
        fits = (len(shape) == 2 and shape[0] % 3 == 0) if is_nv12 else (len(shape) == 3 and shape[2] == 2)
        if self.pixels.dtype != np.uint8 or not fits or shape[1] % 2:
            layout = "[H·3/2,W] with even H and W" if is_nv12 else "[H,W,2] with even W"
            raise ImageError(f"pixels are {self.pixels.dtype} {list(shape)}: {self.format} is uint8 {layout}")

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        rows, width = self.pixels.shape[:2]
        return (rows // 3 * 2 if self.format == "nv12" else rows), width

    def rgb(self) -> npt.NDArray[np.uint8]:
        """Return the frame as [height, width, 3], uint8, RGB. Pixels that share a colour all get this colour."""
        core = native.core()
        if core is not None:
            converted: npt.NDArray[np.uint8] = core.resize(self.pixels, self.shape, format=self.format)
            return converted
        height = self.shape[0]
        if self.format == "nv12":
            luma, chroma = self.pixels[:height], self.pixels[height:].reshape(height // 2, -1, 2).repeat(2, axis=0)
        else:
            luma, chroma = self.pixels[..., 0], self.pixels[..., 1].reshape(height, -1, 2)
        y = 298 * (luma.astype(np.int32) - 16) + 128
        u, v = (chroma[..., at].repeat(2, axis=1).astype(np.int32) - 128 for at in (0, 1))
        rgb = np.stack([y + 409 * v, y - 100 * u - 208 * v, y + 516 * u], axis=2) >> 8
        return np.asarray(np.clip(rgb, 0, 255), np.uint8)

    def crop(self, x: int, y: int, width: int, height: int) -> YuvFrame:
        """Return the smallest part of the frame that contains a rectangle.

        It starts at x and y, rounded down to even numbers.

        Args:
            x: The rectangle's left edge, in pixels.
            y: The rectangle's top edge, in pixels.
            width: The rectangle's width, in pixels.
            height: The rectangle's height, in pixels.
        """
        left, top, right, bottom = x // 2 * 2, y // 2 * 2, (x + width + 1) // 2 * 2, (y + height + 1) // 2 * 2
        part = self.pixels[top : min(bottom, self.shape[0]), left:right]
        if self.format == "nv12":
            colour = self.shape[0]
            part = np.concatenate([part, self.pixels[colour + top // 2 : colour + bottom // 2, left:right]])
        return YuvFrame(part, self.format)

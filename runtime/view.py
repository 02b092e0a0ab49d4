"""The view: which part of a frame is inspected, and how it becomes what the encoder reads.

Part of the recipe, and used identically where a product is learned and where it is inspected.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from .errors import SettingsError
from .preprocess import Array8, resize

PADDING = (122, 116, 104)
"""Letterbox colour: CLIP's mean, so that padding standardises to zero."""


class Box(msgspec.Struct, frozen=True):
    """A rectangle in frame pixels: left, top, width, height."""

    x: int
    y: int
    width: int
    height: int


class View(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Region of interest and how it is fitted into the encoder's square.

    roi: the region, in frame pixels; None is the whole frame.
    resize: "squash" fills the square and gives up the aspect ratio (as published); "letterbox" keeps it
    and fills the rest with CLIP's mean colour.
    """

    roi: Box | None = None
    resize: Literal["squash", "letterbox"] = "squash"

    def region(self, height: int, width: int) -> Box:
        """The region of interest in a frame of this size; SettingsError when it does not lie inside."""
        if self.roi is None:
            return Box(0, 0, width, height)
        roi = self.roi
        inside = roi.x >= 0 and roi.y >= 0 and roi.x + roi.width <= width and roi.y + roi.height <= height
        if not inside or roi.width < 1 or roi.height < 1:
            raise SettingsError(
                f"region {roi.x},{roi.y},{roi.width},{roi.height} does not lie inside a {width}×{height} frame: "
                "give x,y,width,height in pixels of the frame"
            )
        return roi

    def cut(self, frame: Array8, size: int) -> Array8:
        """Frame uint8 RGB [H,W,3] → what the encoder reads, uint8 [1,size,size,3]."""
        region = self.region(*frame.shape[:2])
        part = frame[region.y : region.y + region.height, region.x : region.x + region.width]
        x, y, width, height = self.placement(region, size)
        resized = resize(part, (height, width))
        if (width, height) == (size, size):
            return resized[None]
        square = np.full((1, size, size, 3), PADDING, np.uint8)
        square[0, y : y + height, x : x + width] = resized
        return square

    def placement(self, region: Box, size: int) -> tuple[int, int, int, int]:
        """Where the region lies in the encoder's square: x, y, width, height."""
        if self.resize == "squash":
            return 0, 0, size, size
        scale = size / max(region.width, region.height)
        width, height = max(1, round(region.width * scale)), max(1, round(region.height * scale))
        return (size - width) // 2, (size - height) // 2, width, height

    def window(self, region: Box, size: int) -> tuple[float, float, float, float]:
        """The same place as fractions of the square: left, top, right, bottom."""
        x, y, width, height = self.placement(region, size)
        return x / size, y / size, (x + width) / size, (y + height) / size

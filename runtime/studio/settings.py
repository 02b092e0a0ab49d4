"""The settings of a product: its name, its region as the user drew it, and its smallest defect."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
from PIL import Image, ImageDraw

from ..core.errors import SettingsError
from ..core.preprocess import MIN_SIDE
from ..core.view import Box, View, encode_mask
from ..recipe.calibrate import FALSE_REJECT_RATE

MOST_TILES = 64
"""The most tiles that the studio divides a region into. Each tile costs a pass of the encoder for every picture."""
MOST_CORNERS = 100
"""The most corners of a polygon."""
LONGEST_NAME = 80
"""The most characters of a name."""
LARGEST_SIDE = 20_000
"""The longest side of a frame, in pixels."""


class ProductSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The contents of a product's `product.json`.

    Attributes:
        name: The product's name.
        frame: Width and height in pixels of the pictures that the region was drawn on; None without a region.
        roi: The region as a rectangle in frame pixels; None for the whole frame.
        polygon: The region's corners x, y in frame pixels, instead of a rectangle; empty for none.
        smallest_defect: The side in frame pixels of the smallest defect to find; None if it was not given.
        tiles: Rows and columns of tiles that the region is cut into.
        false_reject_rate: The share of good parts that may be rejected, 0 to 1.
    """

    name: str
    frame: tuple[int, int] | None = None
    roi: Box | None = None
    polygon: tuple[tuple[int, int], ...] = ()
    smallest_defect: int | None = None
    tiles: tuple[int, int] = (1, 1)
    false_reject_rate: float = FALSE_REJECT_RATE

    def __post_init__(self) -> None:
        if self.frame is not None and not all(MIN_SIDE <= side <= LARGEST_SIDE for side in self.frame):
            raise ValueError(f"frame {self.frame}: {MIN_SIDE} to {LARGEST_SIDE} pixels are accepted")
        if self.polygon and not (self.frame and 3 <= len(self.polygon) <= MOST_CORNERS):
            raise ValueError(f"a polygon of {len(self.polygon)} corners: 3 to {MOST_CORNERS} are accepted, and a frame")

    def view(self) -> View:
        """Return the view of the product's recipe.

        Raises:
            SettingsError: The polygon lies outside the frame, or is too small.
        """
        if not self.polygon or self.frame is None:
            return View(roi=self.roi, tiles=self.tiles)
        width, height = self.frame
        mask = Image.new("1", (width, height))
        ImageDraw.Draw(mask).polygon([(float(x), float(y)) for x, y in self.polygon], fill=1)
        box = mask.getbbox()
        if box is None or min(box[2] - box[0], box[3] - box[1]) < MIN_SIDE:
            raise SettingsError(
                f"the polygon is too small: at least {MIN_SIDE}×{MIN_SIDE} pixels of the frame are needed"
            )
        roi = Box(box[0], box[1], box[2] - box[0], box[3] - box[1])
        return View(roi=roi, mask=encode_mask(np.asarray(mask)), tiles=self.tiles)

    def with_region(
        self,
        frame: tuple[int, int],
        roi: Box | None,
        polygon: tuple[tuple[int, int], ...],
        smallest_defect: int | None,
        grid: tuple[int, int],
    ) -> ProductSettings:
        """Return the settings with another region, and as many tiles as the smallest defect needs.

        Args:
            frame: Width and height of the pictures in pixels.
            roi: See ProductSettings.
            polygon: See ProductSettings.
            smallest_defect: See ProductSettings.
            grid: Rows and columns of the encoder's patches.

        Raises:
            SettingsError: The region does not lie in the frame, or a value is out of range.
        """
        try:
            changed = self.changed(
                frame=frame,
                roi=None if polygon else roi,
                polygon=polygon,
                smallest_defect=smallest_defect,
                tiles=(1, 1),
            )
        except ValueError as error:
            raise SettingsError(str(error)) from error
        view = changed.view()
        view.check(frame[1], frame[0])
        return changed.changed(tiles=choose_tiles(view, frame, grid, smallest_defect))

    def patch(self, grid: tuple[int, int]) -> tuple[int, int] | None:
        """Return width and height in frame pixels that one patch covers; None if the frame's size is not known.

        Args:
            grid: Rows and columns of the encoder's patches.
        """
        if self.frame is None:
            return None
        height, width = self.view().patch(self.frame[1], self.frame[0], grid)
        return round(width), round(height)

    def changed(self, **fields: Any) -> ProductSettings:
        """Return the settings with other values of some fields.

        Args:
            **fields: The new values, by the names of the fields.

        Raises:
            ValueError: The values do not fit together.
        """
        return msgspec.structs.replace(self, **fields)


def choose_tiles(
    view: View, frame: tuple[int, int], grid: tuple[int, int], smallest_defect: int | None
) -> tuple[int, int]:
    """Return the fewest rows and columns of tiles with which a patch covers no more than the smallest defect.

    If more than MOST_TILES tiles would be needed, return as many as MOST_TILES allows.

    Args:
        view: The view, without tiles.
        frame: Width and height of the pictures in pixels.
        grid: Rows and columns of the encoder's patches.
        smallest_defect: The side of the smallest defect in frame pixels; None needs no tiles.

    Raises:
        SettingsError: The side is below 1.
    """
    if smallest_defect is None:
        return 1, 1
    if smallest_defect < 1:
        raise SettingsError(f"smallest defect {smallest_defect}: at least 1 pixel is needed")
    region = view.region(frame[1], frame[0])
    counts = []
    for length, patches in ((region.height, grid[0]), (region.width, grid[1])):
        shortest = smallest_defect * patches  # the length that a tile may have; neighbouring tiles overlap
        counts.append(max(1, math.ceil((length / shortest - view.overlap) / (1.0 - view.overlap) - 1e-9)))
    while counts[0] * counts[1] > MOST_TILES:
        counts[counts.index(max(counts))] -= 1
    return counts[0], counts[1]


def clean_name(name: str) -> str:
    """Return a product's name in one line, with single spaces.

    Args:
        name: The name as the user typed it.

    Raises:
        SettingsError: The name is empty, too long, or has characters that cannot be printed.
    """
    name = " ".join(name.split())
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise SettingsError(f"a name of 1 to {LONGEST_NAME} printable characters is needed, as in metal nut")
    return name

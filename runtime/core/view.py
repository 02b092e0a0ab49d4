"""The view: which part of a frame is inspected, and how that part becomes the encoder's input.

It is part of the recipe, and is used in the same way for learning and for inspecting. It works in two directions:
`cut` turns a frame into the encoder's squares, and `stitch` turns their scores into a map of the frame.
"""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt
from PIL import Image

from .errors import SettingsError
from .files import printable, read_bytes
from .masks import marked, require_shape
from .preprocess import MIN_SIDE, Array8, opened, resize
from .scoring import MAP_SIGMA, MAP_SIZE, Floats, map_matrix

PADDING = (122, 116, 104)
"""The colour of everything that must not be seen: CLIP's mean colour, which standardises to zero."""

MAX_TILES = 256
"""The most tiles in a frame."""


class Box(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rectangle in pixels of the frame.

    Attributes:
        x: The left edge.
        y: The top edge.
        width: The number of pixel columns.
        height: The number of pixel rows.
    """

    x: int
    y: int
    width: int
    height: int

    @classmethod
    def parse(cls, text: str) -> Box:
        """Parse a rectangle as people type it.

        Args:
            text: "x,y,width,height", in pixels.

        Returns:
            The rectangle.

        Raises:
            SettingsError: The text is not four integers with commas between them.
        """
        try:
            return cls(*(int(part) for part in text.split(",")))
        except (ValueError, TypeError):
            raise SettingsError(f"--roi {text}: give x,y,width,height in pixels, as in 100,50,640,480") from None


class View(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The region of interest, its mask, and how it is fitted into the encoder's squares.

    Attributes:
        roi: The region, in pixels of the frame; None means the whole frame.
        mask: A one-bit PNG of the frame's size, white where to look. The rest is painted over before the encoder
            reads the frame, and is never reported.
        resize: "squash" fills the square and gives up the aspect ratio, as published. "letterbox" keeps it and pads.
        tiles: Rows and columns that the region is cut into. Each tile is a view, so that small defects in large frames
            survive the resize.
        overlap: The share of a tile's side that it has in common with its neighbour, 0 to 0.5.

    Raises:
        SettingsError: There are no tiles or too many, or the overlap is out of range.
    """

    roi: Box | None = None
    mask: bytes | None = None
    resize: Literal["squash", "letterbox"] = "squash"
    tiles: tuple[int, int] = (1, 1)
    overlap: float = 0.1

    def __post_init__(self) -> None:
        rows, columns = self.tiles
        if rows < 1 or columns < 1 or rows * columns > MAX_TILES:
            raise SettingsError(f"tiles {rows}x{columns}: give rows x columns, at most {MAX_TILES} tiles, as in 2x3")
        if not 0.0 <= self.overlap <= 0.5:
            raise SettingsError(f"overlap {self.overlap}: 0 to 0.5 of a tile is accepted")

    @property
    def count(self) -> int:
        """The number of views of a frame."""
        return self.tiles[0] * self.tiles[1]

    def region(self, height: int, width: int) -> Box:
        """Return the region of interest in a frame of this size.

        Args:
            height: The frame's height, in pixels.
            width: The frame's width, in pixels.

        Raises:
            SettingsError: The region does not lie inside the frame, or is smaller than MIN_SIDE.
        """
        if self.roi is None:
            return Box(0, 0, width, height)
        roi = self.roi
        inside = roi.x >= 0 and roi.y >= 0 and roi.x + roi.width <= width and roi.y + roi.height <= height
        if not inside or roi.width < MIN_SIDE or roi.height < MIN_SIDE:
            raise SettingsError(
                f"region {roi.x},{roi.y},{roi.width},{roi.height} does not lie inside a {width}×{height} frame: "
                f"give x,y,width,height in pixels of the frame, at least {MIN_SIDE}×{MIN_SIDE}"
            )
        return roi

    def check(self, height: int, width: int, name: str = "the frame") -> None:
        """Check that a frame of this size can be inspected.

        The region must lie inside the frame. The mask must have the frame's size and leave some of the region to look
        at.

        Args:
            height: The frame's height, in pixels.
            width: The frame's width, in pixels.
            name: The frame's name in the error.

        Raises:
            SettingsError: The frame cannot be inspected.
        """
        try:
            self.region(height, width)
            visible = self._visible((height, width))
        except SettingsError as error:
            raise SettingsError(f"{name}: {error}") from None
        if visible is not None and not visible.any():
            raise SettingsError(f"{name}: the mask leaves nothing of the region to look at: mark a part of it")

    def cut(self, frame: Array8, size: int, threads: int | None = None) -> Array8:
        """Cut a frame into the squares that the encoder reads.

        Args:
            frame: The frame, [height, width, 3], uint8, RGB.
            size: The side of a square, in pixels.
            threads: The most threads to use; None means one for each processor.

        Returns:
            The views, row by row, [count, size, size, 3], uint8, RGB.

        Raises:
            SettingsError: The region or the mask does not fit the frame.
        """
        return np.stack([self.square(frame, box, size, threads) for box in self.boxes(*frame.shape[:2])])

    def boxes(self, height: int, width: int) -> list[Box]:
        """Return the parts of a frame of this size that become views, row by row, in pixels of the frame.

        Args:
            height: The frame's height, in pixels.
            width: The frame's width, in pixels.

        Raises:
            SettingsError: As in `region`.
        """
        region, (rows, columns) = self.region(height, width), self.tiles
        return [
            Box(region.x + left, region.y + top, right - left, bottom - top)
            for top, bottom in tile_edges(region.height, rows, self.overlap)
            for left, right in tile_edges(region.width, columns, self.overlap)
        ]

    def patch(self, height: int, width: int, grid: tuple[int, int]) -> tuple[float, float]:
        """Return the height and width that one patch of the encoder covers, in pixels of the frame.

        Args:
            height: The frame's height, in pixels.
            width: The frame's width, in pixels.
            grid: Rows and columns of patches in a view.

        Raises:
            SettingsError: As in `region`.
        """
        box = self.boxes(height, width)[0]
        _, _, used_width, used_height = self._placement(box.height, box.width, 1.0)
        return box.height / (grid[0] * used_height), box.width / (grid[1] * used_width)

    def square(self, frame: Array8, box: Box, size: int, threads: int | None = None) -> Array8:
        """Return one of `boxes` as the encoder reads it, [size, size, 3], uint8, RGB.

        Args:
            frame: The frame, [height, width, 3], uint8, RGB.
            box: The part of the frame, one of `boxes`.
            size: The side of the square, in pixels.
            threads: The most threads to use; None means one for each processor.

        Raises:
            SettingsError: The mask does not have the frame's size.
        """
        part = frame[box.y : box.y + box.height, box.x : box.x + box.width]
        if self.mask is not None:
            visible = self._mask(frame.shape[:2])[box.y : box.y + box.height, box.x : box.x + box.width]
            part = np.where(visible[..., None], part, np.array(PADDING, np.uint8))
        return self._fit(part, size, threads)

    def mask_share(self) -> float | None:
        """Return the share of the region's pixels that the mask leaves to look at, 0 to 1; None without a mask.

        Raises:
            SettingsError: The mask cannot be read, or the region does not lie inside it.
        """
        visible = None if self.mask is None else self._visible(decode_mask(self.mask).shape)
        return None if visible is None else float(visible.mean())

    @property
    def is_plain(self) -> bool:
        """Whether each view is only its part of the frame, resized: without mask and padding."""
        return self.mask is None and self.resize == "squash"

    def stitch(self, grids: Floats, height: int, width: int) -> Floats:
        """Join the scores of one frame's views into the anomaly map of its region.

        Args:
            grids: The patches' scores, [count, h, w], views row by row.
            height: The frame's height, in pixels.
            width: The frame's width, in pixels.

        Returns:
            The map, float32. It has MAP_SIZE pixels per tile and axis, so [400,400] without tiles. It is 0 where the
            mask hides the frame.

        Raises:
            SettingsError: The region or the mask does not fit the frame.
        """
        (rows, columns), (_, h, w) = self.tiles, grids.shape
        region = self.region(height, width)
        top, bottom = tile_edges(region.height, rows, self.overlap)[0]
        left, right = tile_edges(region.width, columns, self.overlap)[0]
        x, y, tile_width, tile_height = self._placement(bottom - top, right - left, 1.0)
        down = map_matrix(h, rows, self.overlap, MAP_SIZE * rows, MAP_SIGMA, y, y + tile_height)
        across = map_matrix(w, columns, self.overlap, MAP_SIZE * columns, MAP_SIGMA, x, x + tile_width)
        mosaic = grids.reshape(rows, columns, h, w).transpose(0, 2, 1, 3).reshape(rows * h, columns * w)
        scores: Floats = down @ mosaic @ across.T
        visible = self._visible((height, width))
        if visible is not None:
            scores[~np.asarray(Image.fromarray(visible).resize(scores.shape[::-1], Image.Resampling.NEAREST))] = 0.0
        return scores

    def _fit(self, part: Array8, size: int, threads: int | None) -> Array8:
        height, width = part.shape[:2]
        x, y, new_width, new_height = (round(side) for side in self._placement(height, width, size))
        resized = resize(part, (max(1, new_height), max(1, new_width)), threads)
        if resized.shape[:2] == (size, size):
            return resized
        square = np.full((size, size, 3), PADDING, np.uint8)
        square[y : y + resized.shape[0], x : x + resized.shape[1]] = resized
        return square

    def _placement(self, height: int, width: int, size: float) -> tuple[float, float, float, float]:
        """Return where the resized tile lies in the encoder's square: x, y, width, height."""
        if self.resize == "squash":
            return 0, 0, size, size
        scale = size / max(width, height)
        return (size - width * scale) / 2, (size - height * scale) / 2, width * scale, height * scale

    def _visible(self, frame: tuple[int, ...]) -> npt.NDArray[np.bool_] | None:
        """Return where to look, [height, width] of the region, bool; None means everywhere."""
        if self.mask is None:
            return None
        region = self.region(*frame)
        return self._mask(frame)[region.y : region.y + region.height, region.x : region.x + region.width]

    def _mask(self, frame: tuple[int, ...]) -> npt.NDArray[np.bool_]:
        """Return where to look, [height, width] of the frame, bool."""
        mask = decode_mask(self.mask or b"")
        if mask.shape != tuple(frame):
            raise SettingsError(
                f"the mask is {mask.shape[1]}×{mask.shape[0]} pixels, the frame {frame[1]}×{frame[0]}: "
                "they must be of one size"
            )
        return mask


def tile_edges(length: int, tiles: int, overlap: float) -> list[tuple[int, int]]:
    """Divide an axis into tiles that cover it from end to end.

    Args:
        length: The length of the axis, in pixels.
        tiles: The number of tiles, 1 or more.
        overlap: The share of a tile that it has in common with its neighbour, 0 to 0.5.

    Returns:
        Start and stop of each tile, in pixels.

    Raises:
        SettingsError: A tile would be shorter than a pixel.
    """
    tile = length / (tiles - (tiles - 1) * overlap)
    if tile < 1:
        raise SettingsError(f"{tiles} tiles along {length} pixels: at least one pixel a tile is needed")
    starts = [index * tile * (1.0 - overlap) for index in range(tiles)]
    return [(round(start), min(length, max(round(start) + 1, round(start + tile)))) for start in starts]


def encode_mask(mask: npt.NDArray[np.bool_]) -> bytes:
    """Encode a mask as a PNG.

    Args:
        mask: The mask, [height, width], bool.

    Returns:
        A one-bit PNG, as View.mask holds it.
    """
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def read_mask(path: Path) -> bytes:
    """Read a picture that is bright where to look (masks.py defines what is bright).

    Args:
        path: The mask file.

    Returns:
        A one-bit PNG, as View.mask holds it.

    Raises:
        ImageError: The file is no picture, or the mask marks nothing or everything, or it is grey like a photo.
        FileError: The file cannot be read.
    """
    name = printable(path)
    with opened(read_bytes(path), name) as image:
        marks = marked(image)
        require_shape(marks, image, name)
        return encode_mask(marks)


@functools.lru_cache(maxsize=8)
def decode_mask(data: bytes) -> npt.NDArray[np.bool_]:
    """Decode a view's mask.

    Args:
        data: A PNG, as View.mask holds it.

    Returns:
        The mask, [height, width], bool, True where the PNG is white.

    Raises:
        SettingsError: The data is not a PNG, or is damaged.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            return np.asarray(image.convert("1"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise SettingsError(f"the view's mask cannot be read: {error}") from error

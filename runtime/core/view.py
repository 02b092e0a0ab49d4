"""The view: which part of a frame is inspected, and how it becomes what the encoder reads.

Part of the recipe, and used identically where a product is learned and where it is inspected. Its two
directions: `cut`, from a frame to the encoder's squares, and `stitch`, from their scores back to the frame.
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
"""What is not to be seen: CLIP's mean colour, which standardises to zero."""

MAX_TILES = 256


class Box(msgspec.Struct, frozen=True):
    """A rectangle in frame pixels: left, top, width, height."""

    x: int
    y: int
    width: int
    height: int

    @classmethod
    def parse(cls, text: str) -> Box:
        """Parse x,y,width,height as it is typed."""
        try:
            return cls(*(int(part) for part in text.split(",")))
        except (ValueError, TypeError):
            raise SettingsError(f"--roi {text}: give x,y,width,height in pixels, as in 100,50,640,480") from None


class View(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Region of interest, what is masked in it, and how it is fitted into the encoder's squares.

    roi: the region, in frame pixels; None is the whole frame. mask: a one-bit PNG of the frame's size, white
    where to look; the rest is painted over before the encoder and never reported. resize: "squash" fills
    the square and gives up the aspect ratio (as published); "letterbox" keeps it and pads. tiles: rows and
    columns that the region is cut into, each a view of its own, so that small defects in large frames
    survive the resize; neighbours share `overlap` of their sides.
    """

    roi: Box | None = None
    mask: bytes | None = None
    resize: Literal["squash", "letterbox"] = "squash"
    tiles: tuple[int, int] = (1, 1)
    overlap: float = 0.1

    def __post_init__(self) -> None:
        rows, columns = self.tiles
        if rows < 1 or columns < 1 or rows * columns > MAX_TILES:
            raise SettingsError(f"tiles {rows}x{columns}: from 1x1 to {MAX_TILES} in all, as in 2x3")
        if not 0.0 <= self.overlap <= 0.5:
            raise SettingsError(f"overlap {self.overlap}: from 0 to 0.5 of a tile")

    @property
    def count(self) -> int:
        """Views per frame."""
        return self.tiles[0] * self.tiles[1]

    def region(self, height: int, width: int) -> Box:
        """Return the region of interest in a frame of this size; SettingsError when it does not lie inside."""
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
        """Raise a SettingsError that names the frame unless one of this size can be inspected.

        The region must lie inside it, and the mask must have its size and leave something of the region to look at.
        """
        try:
            self.region(height, width)
            visible = self._visible((height, width))
        except SettingsError as error:
            raise SettingsError(f"{name}: {error}") from None
        if visible is not None and not visible.any():
            raise SettingsError(f"{name}: the mask leaves nothing of the region to look at: mark a part of it")

    def cut(self, frame: Array8, size: int, threads: int | None = None) -> Array8:
        """Cut a frame uint8 RGB [H,W,3] into what the encoder reads, uint8 [rows·columns,size,size,3]."""
        return np.stack([self.square(frame, box, size, threads) for box in self.boxes(*frame.shape[:2])])

    def boxes(self, height: int, width: int) -> list[Box]:
        """Return the parts of a frame of this size that become views."""
        region, (rows, columns) = self.region(height, width), self.tiles
        return [
            Box(region.x + left, region.y + top, right - left, bottom - top)
            for top, bottom in tile_edges(region.height, rows, self.overlap)
            for left, right in tile_edges(region.width, columns, self.overlap)
        ]

    def patch(self, height: int, width: int, grid: tuple[int, int]) -> tuple[float, float]:
        """How much of a frame of this size one of an encoder's patches, (rows, columns) to a view, sees: height and
        width in pixels."""
        box = self.boxes(height, width)[0]
        _, _, used_width, used_height = self._placement(box.height, box.width, 1.0)
        return box.height / (grid[0] * used_height), box.width / (grid[1] * used_width)

    def square(self, frame: Array8, box: Box, size: int, threads: int | None = None) -> Array8:
        """Return one of `boxes` as the encoder reads it, uint8 [size,size,3]."""
        part = frame[box.y : box.y + box.height, box.x : box.x + box.width]
        if self.mask is not None:
            visible = self._mask(frame.shape[:2])[box.y : box.y + box.height, box.x : box.x + box.width]
            part = np.where(visible[..., None], part, np.array(PADDING, np.uint8))
        return self._fit(part, size, threads)

    @property
    def is_plain(self) -> bool:
        """Whether a view is its part of the frame, resized, and nothing else."""
        return self.mask is None and self.resize == "squash"

    def stitch(self, grids: Floats, height: int, width: int) -> Floats:
        """Join the scores of one frame's views [rows·columns,h,w] into the anomaly map of its region.

        The frame was height×width. The map has MAP_SIZE pixels per tile and axis, [400,400] without tiles.
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
        """Return where a tile lies in the encoder's square: x, y, width, height."""
        if self.resize == "squash":
            return 0, 0, size, size
        scale = size / max(width, height)
        return (size - width * scale) / 2, (size - height * scale) / 2, width * scale, height * scale

    def _visible(self, frame: tuple[int, ...]) -> npt.NDArray[np.bool_] | None:
        """Return where to look, bool over the region, or None for everywhere."""
        if self.mask is None:
            return None
        region = self.region(*frame)
        return self._mask(frame)[region.y : region.y + region.height, region.x : region.x + region.width]

    def _mask(self, frame: tuple[int, ...]) -> npt.NDArray[np.bool_]:
        """Return where to look, bool over the frame."""
        mask = decode_mask(self.mask or b"")
        if mask.shape != tuple(frame):
            raise SettingsError(
                f"the mask is {mask.shape[1]}×{mask.shape[0]} pixels, the frame {frame[1]}×{frame[0]}: "
                "they must be of one size"
            )
        return mask


def tile_edges(length: int, tiles: int, overlap: float) -> list[tuple[int, int]]:
    """Start and stop of each tile along an axis, in pixels; the tiles cover it from end to end."""
    tile = length / (tiles - (tiles - 1) * overlap)
    if tile < 1:
        raise SettingsError(f"{tiles} tiles along {length} pixels: at least one pixel a tile is needed")
    starts = [index * tile * (1.0 - overlap) for index in range(tiles)]
    return [(round(start), min(length, max(round(start) + 1, round(start + tile)))) for start in starts]


def encode_mask(mask: npt.NDArray[np.bool_]) -> bytes:
    """Encode a mask bool [H,W] as the one-bit PNG that View.mask holds."""
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def read_mask(path: Path) -> bytes:
    """Read a picture that is bright where to look (masks.py tells which) as View.mask.

    Raises ImageError for a file that is no picture, and for a mask that marks nothing or everything.
    """
    name = printable(path)
    with opened(read_bytes(path), name) as image:
        marks = marked(image)
        require_shape(marks, image, name)
        return encode_mask(marks)


@functools.lru_cache(maxsize=8)
def decode_mask(data: bytes) -> npt.NDArray[np.bool_]:
    """Decode View.mask as bool [H,W], in which white is True."""
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            return np.asarray(image.convert("1"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise SettingsError(f"the view's mask cannot be read: {error}") from error

"""A ring that is drawn as every kind of mask."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from goodparts.runtime.core.masks import Marks
from PIL import Image

RING = np.hypot(*(np.indices((40, 60)) - np.array([20, 30])[:, None, None])) < 15
"""What every mask here marks."""
VOC = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128, 64, 0, 0] + [0] * (250 * 3)


def palette(colours: list[int]) -> Callable[[Marks], Image.Image]:
    def draw(marks: Marks) -> Image.Image:
        image = Image.fromarray(np.where(marks, np.where(np.arange(60) < 30, 1, 5), 0).astype(np.uint8), "P")
        image.putpalette(colours)
        return image

    return draw


def colours(marked: tuple[int, ...], unmarked: tuple[int, ...], mode: str) -> Callable[[Marks], Image.Image]:
    return lambda marks: Image.fromarray(np.where(marks[..., None], marked, unmarked).astype(np.uint8), mode)


def values(marked: float, kind: type[np.generic]) -> Callable[[Marks], Image.Image]:
    return lambda marks: Image.fromarray((marks * marked).astype(kind))


KINDS: dict[str, tuple[str, Callable[[Marks], Image.Image]]] = {
    "one bit": ("png", Image.fromarray),
    "0 and 255": ("png", values(255, np.uint8)),
    "0 and 1": ("png", values(1, np.uint8)),
    "0 and 100": ("bmp", values(100, np.uint8)),
    "16 bits": ("png", values(65535, np.uint16)),
    "16 bits, 0 and 1": ("tif", values(1, np.uint16)),
    "32 bits": ("tif", values(7, np.int32)),
    "floats up to 1": ("tif", values(1.0, np.float32)),
    "floats up to 255": ("tif", values(255.0, np.float32)),
    "palette of VOC": ("png", palette(VOC)),
    "palette of greys": ("png", palette([0, 0, 0] + [250, 250, 250] * 255)),
    "red": ("png", colours((255, 0, 0), (0, 0, 0), "RGB")),
    "white on black, opaque": ("png", colours((255, 255, 255, 255), (0, 0, 0, 255), "RGBA")),
    "black, shape in the opacity": ("png", colours((0, 0, 0, 255), (0, 0, 0, 0), "RGBA")),
    "white, shape in the opacity": ("png", colours((255, 255, 255, 255), (255, 255, 255, 0), "RGBA")),
    "red on nothing": ("webp", colours((255, 0, 0, 255), (0, 0, 0, 0), "RGBA")),
    "grey with opacity": ("png", lambda marks: colours((9, 9, 9, 255), (9, 9, 9, 0), "RGBA")(marks).convert("LA")),
}

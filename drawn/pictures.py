"""Photographs by others as surfaces: crops of pictures that are free to use and come with installed packages.

This repository holds none of them. Only pictures in the public domain, under CC0 or under CC BY, or with no known
copyright restrictions are listed; `LICENCES` names each one's licence and author as its package states them.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from .canvas import Frame, Layer, Painter

LICENCES: dict[str, tuple[str, str, str]] = {
    "brick": ("skimage", "data/brick.png", "CC0, CC0Textures, Bricks25"),
    "grass": ("skimage", "data/grass.png", "CC0, linolafett on DeviantArt"),
    "gravel": ("skimage", "data/gravel.png", "CC0, CC0Textures, Gravel04"),
    "camera": ("skimage", "data/camera.png", "CC0, Lav Varshney"),
    "coins": ("skimage", "data/coins.png", "no known copyright restrictions, Brooklyn Museum Collection"),
    "coffee": ("skimage", "data/coffee.png", "CC0, Rachel Michetti"),
    "chelsea": ("skimage", "data/chelsea.png", "CC0, Stefan van der Walt"),
    "rocket": ("skimage", "data/rocket.jpg", "public domain, SpaceX"),
    "clock": ("skimage", "data/clock_motion.png", "public domain, Stefan van der Walt"),
    "hubble": ("skimage", "data/hubble_deep_field.jpg", "public domain, NASA"),
    "retina": ("skimage", "data/retina.jpg", "CC0, Häggström, 2014"),
    "cell": ("skimage", "data/cell.png", "CC0, Müller et al., 2018"),
    "china": ("sklearn", "datasets/images/china.jpg", "CC BY 2.0, danielbuechele"),
    "flower": ("sklearn", "datasets/images/flower.jpg", "CC BY 2.0, vultilion"),
}
"""Name of a picture → the package that holds it, its path there, and its licence and author."""


@functools.cache
def open_picture(name: str) -> NDArray[np.uint8]:
    """Read a picture of LICENCES.

    Args:
        name: One of LICENCES.

    Returns:
        The picture, [H,W,3], uint8, RGB. It is cached: do not change it.

    Raises:
        ModuleNotFoundError: The package that holds the picture is not installed.
    """
    package, path, _ = LICENCES[name]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"the picture {name!r} lies in {package}: install that package")
    return np.asarray(Image.open(Path(spec.submodule_search_locations[0]) / path).convert("RGB"))


def crop_of(name: str) -> Callable[[Generator], Painter]:
    """Return the function that designs a product whose pieces are crops of one picture.

    The product has its own scale, angle and colours.

    Args:
        name: One of LICENCES.
    """

    def picture_line(design: Generator) -> Painter:
        picture = open_picture(name)
        short = min(picture.shape[:2])
        side = design.uniform(0.15, 0.7) * short
        angle = design.uniform(0, 2 * math.pi)
        spread = design.choice((0.02, 1.0), p=(0.4, 0.6))  # pieces show nearly the same place of the picture, or any
        home = design.uniform(0, 1, 2)
        mix = np.eye(3) * design.uniform(0.0, 1.0) + design.dirichlet((1, 1, 1), 3) * design.uniform(0.3, 1.0)
        mix /= mix.sum(axis=1, keepdims=True)
        power, gain = design.uniform(0.6, 1.6), design.uniform(0.6, 1.1)
        inverted = design.random() < 0.25

        def paint(frame: Frame) -> Layer:
            height, width = frame.shape
            reach = side * (1 + 0.02 * frame.rng.normal()) / min(height, width)
            turned = angle + frame.pose[2]
            c, s = math.cos(turned) * reach, math.sin(turned) * reach
            margin = 0.5 * side * (abs(math.cos(turned)) + abs(math.sin(turned)))
            room = [max(extent - 2 * margin, 0.0) for extent in picture.shape[1::-1]]
            place = np.clip(home + frame.rng.uniform(-1, 1, 2) * spread, 0, 1)
            x, y = (
                (extent - free) / 2 + share * free
                for extent, free, share in zip(picture.shape[1::-1], room, place, strict=True)
            )
            matrix = (c, s, x - c * width / 2 - s * height / 2, -s, c, y + s * width / 2 - c * height / 2)
            # A turned crop of a small picture may reach beyond its borders, so the picture is mirrored there.
            tile = _mirrored(name)
            matrix = (*matrix[:2], matrix[2] + picture.shape[1], *matrix[3:5], matrix[5] + picture.shape[0])
            crop = tile.transform((width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
            values = np.asarray(crop, np.float32) / 255
            values = (values @ mix.T.astype(np.float32)).clip(0, 1) ** np.float32(power) * np.float32(gain)
            colour = 1 - values if inverted else values
            return Layer(np.ascontiguousarray(colour.transpose(2, 0, 1)) * np.float32(255), None)

        return paint

    return picture_line


@functools.cache
def _mirrored(name: str) -> Image.Image:
    """Return the picture in the middle of 3×3 mirror images of itself."""
    picture = open_picture(name)
    height, width = picture.shape[:2]
    return Image.fromarray(np.pad(picture, ((height, height), (width, width), (0, 0)), mode="symmetric"))

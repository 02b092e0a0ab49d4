"""Variation of the training photos: a few shots then stand for more differences between good parts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from goodparts.runtime.core.preprocess import Array8
from numpy.random import Generator
from PIL import Image

from .pseudo import Mask

TURN, SHIFT = 15.0, 0.06
"""The largest turn in degrees, and the largest shift as a share of the side."""
LIGHT, TINT = 0.2, 0.05
"""The largest change of brightness, and the largest change of each colour, as a factor and as a share of white."""


def vary(photo: Array8, mask: Mask, strength: float, rng: Generator) -> tuple[Array8, Mask]:
    """Return a photo, [S, S, 3], uint8, and its mask, [S, S], bool, turned, shifted and relit.

    Places beyond an edge of the photo are filled with its mirror image.

    Args:
        photo: [S, S, 3], uint8, RGB.
        mask: [S, S], bool.
        strength: 0 to 1: 0 returns both unchanged, 1 goes up to the largest changes.
        rng: The source of randomness.
    """
    if not strength:
        return photo, mask
    size = len(photo)
    edge, middle = size // 4, size / 2
    angle = np.deg2rad(strength * rng.uniform(-TURN, TURN))
    right, down = middle + strength * rng.uniform(-SHIFT, SHIFT, 2) * size
    light = (1.0 + strength * rng.uniform(-LIGHT, LIGHT)) * (1.0 + strength * rng.uniform(-TINT, TINT, 3))
    haze = 255.0 * strength * rng.uniform(-TINT, TINT, 3)
    cos, sin = np.cos(angle), np.sin(angle)
    origin = edge + middle  # the photo's centre, which moves to (right, down)
    source = (cos, -sin, origin - cos * right + sin * down, sin, cos, origin - sin * right - cos * down)

    def move(pixels: npt.NDArray[np.uint8], resampling: Image.Resampling) -> npt.NDArray[np.uint8]:
        padded = np.pad(pixels, [(edge, edge)] * 2 + [(0, 0)] * (pixels.ndim - 2), mode="symmetric")
        moved = Image.fromarray(padded).transform((size, size), Image.Transform.AFFINE, source, resampling)
        return np.asarray(moved)

    lit = move(photo, Image.Resampling.BILINEAR) * light.astype(np.float32) + haze.astype(np.float32)
    where = move(mask.astype(np.uint8), Image.Resampling.NEAREST) > 0
    return np.clip(np.rint(lit), 0, 255).astype(np.uint8), where

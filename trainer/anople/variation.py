"""How a photo may differ from another shot of the same part, so that a few shots stand for more."""

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
"""The largest changes of light: of a photo's brightness, and of each colour, as a factor and as a share of white."""


def vary(photo: Array8, mask: Mask, strength: float, rng: Generator) -> tuple[Array8, Mask]:
    """Return a photo uint8 [S,S,3] and its mask bool [S,S], turned, shifted and lit otherwise.

    strength: 0 leaves it as it is, 1 goes up to the bounds. What comes in at an edge is the photo's mirror image.
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
    origin = edge + middle  # what is shifted to (right, down) was in the middle
    source = (cos, -sin, origin - cos * right + sin * down, sin, cos, origin - sin * right - cos * down)

    def move(pixels: npt.NDArray[np.uint8], resampling: Image.Resampling) -> npt.NDArray[np.uint8]:
        padded = np.pad(pixels, [(edge, edge)] * 2 + [(0, 0)] * (pixels.ndim - 2), mode="symmetric")
        moved = Image.fromarray(padded).transform((size, size), Image.Transform.AFFINE, source, resampling)
        return np.asarray(moved)

    lit = move(photo, Image.Resampling.BILINEAR) * light.astype(np.float32) + haze.astype(np.float32)
    where = move(mask.astype(np.uint8), Image.Resampling.NEAREST) > 0
    return np.clip(np.rint(lit), 0, 255).astype(np.uint8), where

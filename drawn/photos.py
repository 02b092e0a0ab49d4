"""Photos of drawn parts: good parts, and parts with a defect whose mask is exact.

A `DrawnProduct` is one product under one camera. Its pieces differ in pose, in texture and in the camera's noise. Two
products of one kind differ in design, light and camera.
"""

from __future__ import annotations

import io
import math
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from PIL import Image

from .canvas import Colour, Frame, Plane, hsv, luminance, ramp, solid, triangular
from .parts import PAINTERS, PICTURES, SURFACES, TEXTURES
from .pieces import Piece
from .surfaces import relief_of, skinned


@dataclass(frozen=True)
class Photo:
    """A photo of a piece.

    Attributes:
        image: The photo, [H,W,3], uint8, RGB.
        mask: Where the defect is, [H,W]; all False for a good piece.
        kind: The product's kind.
        defect: The defect's name; None for a good piece.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    kind: str
    defect: str | None


@dataclass(frozen=True)
class DrawnPair:
    """A piece without and with its defect, before lamp and camera change the picture.

    Attributes:
        good: Without the defect, [H,W,3], float32, 0 to 255.
        bad: With the defect; equal to `good` outside the mask.
        mask: Where the defect is, [H,W].
    """

    good: NDArray[np.float32]
    bad: NDArray[np.float32]
    mask: NDArray[np.bool_]


class DrawnProduct:
    """One product under one camera.

    Every property that all pieces share is drawn at random from the seed.
    """

    def __init__(self, kind: str, seed: int, skin: str | None = None, ground: str | None = None) -> None:
        """Design the product, with all properties that its pieces share.

        Args:
            kind: One of KINDS, or one of SURFACES or PICTURES, which fill the picture.
            seed: Tells products of one kind apart.
            skin: One of SURFACES or PICTURES, whose relief the part gets; None for a plain part.
            ground: One of SURFACES or PICTURES, whose relief the ground gets; None for a plain ground.

        Raises:
            ValueError: There is no such kind.
        """
        painters = PAINTERS | SURFACES | PICTURES
        if kind not in painters:
            raise ValueError(f"no kind {kind!r}; there are: {', '.join(painters)}")
        self.kind = kind
        self._key = (zlib.crc32("|".join(filter(None, (kind, skin, ground))).encode()), seed)
        design = default_rng(self._key)
        self._paint = painters[kind](design)
        if skin is not None:
            self._paint = skinned(self._paint, painters[skin](design), design.uniform(0.2, 1.0))
        self._backdrop = None if ground is None else (painters[ground](design), design.uniform(0.2, 1.2))
        fills = kind in TEXTURES or kind not in PAINTERS
        self._angle = (
            0.0 if fills else design.choice((0, math.pi / 2, design.uniform(0, 2 * math.pi)), p=(0.45, 0.2, 0.35))
        )
        self._scale = design.uniform(0.75, 1.3) if fills else design.uniform(0.85, 1.08)
        if abs(math.sin(2 * self._angle)) > 0.3:  # corners need room
            self._scale *= 0.85
        self._loose = (0.0, 0.03) if fills else (design.uniform(0.0, 0.04), design.uniform(0.0, 0.08))
        self._light = design.uniform(0, 2 * math.pi)
        self._ground = self._background(design)
        self._ground_noise = design.uniform(0, 0.04), design.choice((0.02, 0.1, 0.6))
        self._shadow = design.uniform(0.1, 0.55), design.uniform(0.03, 0.08)
        self._gradient = design.uniform(0, 0.16), design.uniform(0, 2 * math.pi)
        self._vignette = design.uniform(0, 0.12)
        self._tint = 1 + design.uniform(-0.04, 0.04, size=3).astype(np.float32)
        self._exposure, self._flicker = design.uniform(0.85, 1.1), design.uniform(0.005, 0.03)
        self._blur = design.uniform(0, 0.7)
        self._sensor = design.uniform(0.8, 4.0)
        self._quality = int(design.integers(75, 96))

    def _background(self, design: Generator) -> Colour:
        """Choose a colour that the part stands out from: mostly grey, dark or bright."""
        layer = self._paint(Frame.posed((48, 48), (0, 0, 0, 1), self._light, default_rng(self._key)))
        on = np.ones((48, 48), bool) if layer.distance is None else layer.distance < 0
        part = luminance(layer.colour[:, on])
        if layer.distance is None:  # the ground under a texture is dark, unless the texture itself is
            value = part / 255 + 0.3 if part < 90 else design.uniform(0.04, 0.12)
            return hsv(design.random(), 0.08, value)
        while True:
            value = design.choice((design.uniform(0.03, 0.2), design.uniform(0.25, 0.7), design.uniform(0.75, 0.97)))
            colour = hsv(design.random(), design.choice((0.03, 0.03, 0.25)), value)
            if abs(luminance(colour) - part) > 65:
                return colour

    def photo(
        self,
        seed: int,
        defect: str | None = None,
        size: tuple[int, int] = (192, 192),
        *,
        extent: float | None = None,
        strength: float = 1.0,
    ) -> Photo:
        """Return a photo of a piece.

        Args:
            seed: Tells pieces apart. A piece is the same with and without a defect.
            defect: One of parts.DEFECTS or parts.BLEMISHES, or None for a good piece.
            size: Height and width in pixels.
            extent: The defect's longest side in pixels; None draws it at random.
            strength: The share of the defect's change that is shown, above 0 and up to 1.

        Raises:
            ValueError: There is no such defect.
        """
        piece = self._piece(seed, size)
        if defect is None:
            image, mask = piece.image(), np.zeros(size, dtype=np.bool_)
        else:
            image, mask = piece.spoil(defect, self._chance(seed, defect), extent, strength)
        return Photo(self._expose(image, seed), mask, self.kind, defect)

    def pair(
        self, seed: int, defect: str, size: tuple[int, int] = (192, 192), *, extent: float | None = None
    ) -> DrawnPair:
        """Return the piece of `photo` without and with the defect, before lamp and camera change the picture.

        Args:
            seed: As in `photo`.
            defect: As in `photo`.
            size: As in `photo`.
            extent: As in `photo`.

        Raises:
            ValueError: There is no such defect.
        """
        piece = self._piece(seed, size)
        bad, mask = piece.spoil(defect, self._chance(seed, defect), extent)
        return DrawnPair(piece.image().transpose(1, 2, 0), bad.transpose(1, 2, 0), mask)

    def _chance(self, seed: int, what: str) -> Generator:
        return default_rng((*self._key, seed, zlib.crc32(what.encode())))

    def _piece(self, seed: int, size: tuple[int, int]) -> Piece:
        rng = self._chance(seed, "piece")
        shift, turn = self._loose
        x, y = rng.uniform(-shift, shift, size=2)
        pose = x, y, self._angle + rng.uniform(-turn, turn), self._scale * rng.uniform(0.99, 1.01)
        frame = Frame.posed(size, pose, self._light, rng)
        layer = self._paint(frame)
        colour = np.clip(layer.colour, 0, 255)
        strength, cell = self._ground_noise
        ground = solid(frame, self._ground, 1 + np.float32(strength) * frame.noise(cell))
        if self._backdrop is not None:
            surface, relief = self._backdrop
            ground *= relief_of(surface(frame).colour, relief)
        if layer.distance is None:
            return Piece(colour, np.ones(size, dtype=np.float32), ground, self._light)
        depth, width = self._shadow
        ground *= 1 - np.float32(depth) * (1 - ramp(layer.distance, 0, width)) ** 2
        return Piece(colour, frame.cover(layer.distance), ground, self._light)

    def _expose(self, image: Plane, seed: int) -> NDArray[np.uint8]:
        """Return a picture [3,H,W] as lamp, lens, sensor and compression change it: [H,W,3], uint8."""
        rng = self._chance(seed, "camera")
        _, height, width = image.shape
        across = np.linspace(-1, 1, width, dtype=np.float32)
        down = np.linspace(-1, 1, height, dtype=np.float32)
        strength, angle = self._gradient
        strength, angle = strength * rng.uniform(0.8, 1.2), angle + rng.uniform(-0.1, 0.1)
        row = np.float32(strength * math.cos(angle)) * across - np.float32(self._vignette) * across**2
        column = np.float32(strength * math.sin(angle)) * down - np.float32(self._vignette) * down**2
        gain = np.float32(self._exposure * (1 + rng.normal(0, self._flicker)))
        light = gain * (1 + row[None, :] + column[:, None])
        lit = image * light * self._tint[:, None, None]
        blur = self._blur * rng.uniform(0.8, 1.2)
        if blur > 0.25:
            lit = _blurred(lit, blur)
        lit += np.float32(self._sensor) * triangular(rng, (3, height, width))
        pixels = np.clip(lit, 0, 255).astype(np.uint8).transpose(1, 2, 0)
        buffer = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "JPEG", quality=self._quality)
        return np.asarray(Image.open(buffer))


def _blurred(image: Plane, sigma: float) -> Plane:
    """Blur [3,H,W] in both directions by a kernel of 3 pixels, of this spread in pixels (up to 0.8)."""
    side = np.float32(sigma**2 / 2)
    result: Plane = image.copy()
    result[:, 1:-1] += side * (image[:, 2:] + image[:, :-2] - 2 * image[:, 1:-1])
    rows = result.copy()
    result[:, :, 1:-1] += side * (rows[:, :, 2:] + rows[:, :, :-2] - 2 * rows[:, :, 1:-1])
    return result

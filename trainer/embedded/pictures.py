"""The pictures that the embedded CLIP learns from: parts and surfaces, each without and with a painted defect.

goodparts.drawn draws each product under one camera. Many products teach more than many pictures of one product, so each
product gives only two pieces. Kinds, surfaces, pictures and defects that parts.py holds out are not drawn for training.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from goodparts.drawn import parts
from goodparts.drawn.photos import DrawnProduct
from goodparts.runtime.core.preprocess import Array8, resize
from numpy.random import Generator, default_rng

SEED = 20261130
IMAGE_SIZE = 240
PIECES = 2
"""Pieces of each product."""
EXTENTS = 7.0, 100.0
"""The smallest and the largest extent of a defect, in pixels of the encoder's square."""
FAINTEST = 0.35
"""The least strength of a defect; with 1, goodparts.drawn paints it as usual."""


@dataclass(frozen=True)
class Choice:
    """Names that products and defects are drawn from.

    Attributes:
        kinds: The kinds of parts.
        surfaces: The surfaces.
        pictures: The photographs that crops are taken from.
        defects: The defects.
    """

    kinds: tuple[str, ...]
    surfaces: tuple[str, ...]
    pictures: tuple[str, ...]
    defects: tuple[str, ...]

    def without(self, other: Choice) -> Choice:
        """Return the names that are not in another choice.

        Args:
            other: The other choice.
        """
        rest = ([name for name in getattr(self, group) if name not in getattr(other, group)] for group in GROUPS)
        return Choice(*map(tuple, rest))


GROUPS = tuple(field.name for field in fields(Choice))
ALL = Choice(parts.KINDS, tuple(parts.SURFACES), tuple(parts.PICTURES), parts.DEFECTS + parts.BLEMISHES)
HELD_OUT = Choice(
    parts.HELD_OUT_KINDS,
    parts.HELD_OUT_SURFACES,
    parts.HELD_OUT_PICTURES,
    parts.HELD_OUT_DEFECTS + parts.HELD_OUT_BLEMISHES,
)
TRAINING = ALL.without(HELD_OUT)


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures of one product: n pieces, each without and with its defect.

    Attributes:
        images: [n, 2, S, S, 3], uint8, RGB: a piece without and with its defect.
        coverage: [n, S, S], uint8: 255 where the defect is, 0 elsewhere, and between them at its edge.
        kind: The product's kind.
        defects: The n defects.
    """

    images: Array8
    coverage: Array8
    kind: str
    defects: tuple[str, ...]


def draw_product(seed: int, choice: Choice = TRAINING) -> Pictures:
    """Draw a product; the same number gives the same pictures.

    Args:
        seed: The product's number.
        choice: The names to draw from.

    Returns:
        The pictures.
    """
    rng = default_rng([SEED, seed])
    product = random_product(rng, seed, choice)
    # The encoder squashes photos that are not square, so the training has some too.
    stretch = rng.uniform(1.0, 2.6) if rng.random() < 0.25 else 1.0
    size = (
        (IMAGE_SIZE, round(IMAGE_SIZE * stretch)) if rng.random() < 0.5 else (round(IMAGE_SIZE * stretch), IMAGE_SIZE)
    )
    look = Look.random(rng)
    images, coverage, defects = [], [], []
    for piece in range(PIECES):
        defect = str(rng.choice(choice.defects))
        extent = float(np.exp(rng.uniform(*np.log(EXTENTS))))
        strength = 1.0 if rng.random() < 0.4 else rng.uniform(FAINTEST, 1.0)
        bad = product.photo(piece, defect, size, extent=extent, strength=strength)
        good = product.photo(piece, None, size)
        images.append([look.apply(square(photo.image)) for photo in (good, bad)])
        mask = np.repeat(bad.mask[:, :, None], 3, axis=2).astype(np.uint8) * np.uint8(255)
        coverage.append(look.turn(square(mask))[:, :, 0])
        defects.append(defect)
    return Pictures(np.array(images), np.array(coverage), product.kind, tuple(defects))


def random_product(rng: Generator, seed: int, choice: Choice) -> DrawnProduct:
    """Return a surface, a picture, a plain part, or a part with a surface on it and maybe one under it.

    Args:
        rng: The source of randomness.
        seed: The product's number.
        choice: The names to draw from.
    """
    share = rng.random()
    if share < 0.4:
        return DrawnProduct(str(rng.choice(choice.surfaces)), seed)
    if share < 0.6:
        return DrawnProduct(str(rng.choice(choice.pictures)), seed)
    kind = str(rng.choice(choice.kinds))
    if share < 0.75:
        return DrawnProduct(kind, seed)
    skins = choice.surfaces + choice.pictures
    return DrawnProduct(kind, seed, str(rng.choice(skins)), str(rng.choice(skins)) if rng.random() < 0.6 else None)


def square(image: Array8) -> Array8:
    """Squash a picture into the encoder's square.

    Args:
        image: [H, W, 3], uint8, RGB.

    Returns:
        [IMAGE_SIZE, IMAGE_SIZE, 3], uint8, RGB.
    """
    if image.shape[:2] == (IMAGE_SIZE, IMAGE_SIZE):
        return image
    return resize(np.ascontiguousarray(image), (IMAGE_SIZE, IMAGE_SIZE))


@dataclass(frozen=True)
class Look:
    """How the camera of a product is turned and renders colours; it is the same for all pictures of the product.

    Attributes:
        turns: Quarter turns.
        mirrored: Whether pictures are mirrored.
        power: The exponent of each colour, whose values are 0 to 1.
        gain: [3], float32: the factor of each colour.
        saturation: The factor of the difference from grey; 0 makes pictures grey.
    """

    turns: int
    mirrored: bool
    power: float
    gain: npt.NDArray[np.float32]
    saturation: float

    @classmethod
    def random(cls, rng: Generator) -> Look:
        """Return a random look.

        Args:
            rng: The source of randomness.
        """
        saturation = 0.0 if rng.random() < 0.35 else rng.uniform(0.3, 1.3)
        gain = rng.uniform(0.75, 1.2) * rng.uniform(0.93, 1.07, 3)
        return cls(
            int(rng.integers(4)), bool(rng.random() < 0.5), rng.uniform(0.7, 1.4), gain.astype(np.float32), saturation
        )

    def turn(self, image: Array8) -> Array8:
        """Turn and mirror a picture.

        Args:
            image: [S, S, 3], uint8.

        Returns:
            [S, S, 3], uint8.
        """
        turned = np.rot90(image, self.turns)
        return np.ascontiguousarray(turned[:, ::-1] if self.mirrored else turned)

    def apply(self, image: Array8) -> Array8:
        """Turn and mirror a picture, and change its colours.

        Args:
            image: [S, S, 3], uint8, RGB.

        Returns:
            [S, S, 3], uint8, RGB.
        """
        values = (self.turn(image).astype(np.float32) / 255) ** np.float32(self.power) * self.gain
        grey = values.mean(axis=2, keepdims=True)
        tinted = grey + np.float32(self.saturation) * (values - grey)
        return np.asarray(np.clip(tinted * 255 + 0.5, 0, 255), np.uint8)

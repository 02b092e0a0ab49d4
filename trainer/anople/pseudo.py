"""Pseudo-anomalies in pixel space: defects painted onto photos of good parts, with exact masks (docs/anople.md, A7).

As in DRAEM (Zavrtanik et al., ICCV 2021), Perlin noise gives the mask, and a partly transparent texture fills it.
Textures come from a folder such as DTD. Without one they are drawn, or cut out of the shots (CutPaste, Li et al., CVPR
2021). A defect lies on the part, not beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from goodparts.runtime.core.preprocess import Array8, load_rgb, resize
from goodparts.runtime.core.scoring import Floats, bilinear_matrix
from numpy.random import Generator
from PIL import Image, ImageEnhance, ImageOps

Mask = npt.NDArray[np.bool_]

CELLS = (1, 2, 4, 8, 16, 32)
"""The numbers of noise cells along an axis, one of which is drawn at random (DRAEM)."""
NOISE_THRESHOLD = 0.5
OPACITY = 0.2, 1.0
"""The smallest and the largest opacity of the texture: DRAEM's 1 − β, with β up to 0.8."""
AREA = 0.001, 0.25
"""The smallest and the largest share of the photo that a defect covers. A patch would hardly show a smaller one."""
TRIES = 8
"""The number of noise masks that are tried before a disc is taken instead."""
TILES = 2
"""The number of rows, and of columns, of tiles in a photo."""


class PseudoAnomalies:
    """Paints defects onto photos of good parts. Every random choice of a call comes from the generator of the call.

    Args:
        shots: [k, S, S, 3], uint8, RGB.
        textures: Picture files of textures for defects; if empty, textures are drawn or cut out of the shots.
        foreground: Whether defects are kept on the part, where the part stands out from its background.
    """

    def __init__(self, shots: Array8, textures: Sequence[Path] = (), *, foreground: bool = True) -> None:
        self._shots = shots
        self._files = textures
        self._parts = [find_foreground(shot) if foreground else None for shot in shots]

    def __call__(self, shot: int, rng: Generator) -> tuple[Array8, Mask]:
        """Return shot number `shot` with a painted defect, [S, S, 3], and the defect's mask, [S, S], never empty."""
        photo, part = self._shots[shot], self._parts[shot]
        mask = draw_mask(photo.shape[0], rng, part)
        texture = self._texture(photo.shape[0], rng).astype(np.float32)
        opacity = np.float32(rng.uniform(*OPACITY))
        soft = soften(mask, rng.uniform(0.0, 0.01) * len(mask))[..., None] * opacity
        blended = photo + soft * (texture - photo)
        painted = np.clip(np.rint(blended), 0, 255).astype(np.uint8)
        return painted, mask

    def _texture(self, size: int, rng: Generator) -> Array8:
        if self._files:
            return augment(fit(load_rgb(self._files[int(rng.integers(len(self._files)))]), size), rng)
        if rng.random() < 0.5:
            return augment(draw_texture(size, rng), rng)
        return cut_out(self._shots[rng.integers(len(self._shots))], rng)


def perlin(size: int, cells: tuple[int, int], rng: Generator) -> Floats:
    """Draw Perlin noise; any number of cells fits any size.

    Args:
        size: The side in pixels.
        cells: Rows and columns of cells.
        rng: The source of randomness.

    Returns:
        [size, size], float32, about −1 to 1.
    """
    angle = rng.uniform(0.0, 2.0 * np.pi, (cells[0] + 1, cells[1] + 1)).astype(np.float32)
    rows, columns = ((np.arange(size, dtype=np.float32) + 0.5) * (count / size) for count in cells)
    i, j = rows.astype(np.intp), columns.astype(np.intp)
    y, x = rows - i, columns - j
    fade_y, fade_x = (t**3 * (t * (t * 6 - 15) + 10) for t in (y, x))

    def corner(down: int, right: int) -> Floats:
        direction = angle[np.ix_(i + down, j + right)]
        return np.asarray(np.sin(direction) * (y - down)[:, None] + np.cos(direction) * (x - right)[None, :])

    top = corner(0, 0) * (1 - fade_x) + corner(0, 1) * fade_x
    bottom = corner(1, 0) * (1 - fade_x) + corner(1, 1) * fade_x
    return np.asarray(np.sqrt(2.0) * (top * (1 - fade_y)[:, None] + bottom * fade_y[:, None]), np.float32)


def draw_mask(size: int, rng: Generator, inside: Mask | None = None) -> Mask:
    """Draw the mask of a defect that covers a share of the photo within AREA.

    Half of the masks keep every blob of the noise. The other half keep only the parts of the blobs within a small disc.
    After TRIES masks that are too small or too large, a disc is taken, which may reach beyond `inside`.

    Args:
        size: The side in pixels.
        rng: The source of randomness.
        inside: [size, size], bool: where the defect has to be; None for anywhere.

    Returns:
        [size, size], bool.
    """
    smallest, largest = (share * size * size for share in AREA)
    for _ in range(TRIES):
        rows, columns = rng.choice(CELLS, 2)
        mask: Mask = np.rot90(perlin(size, (int(rows), int(columns)), rng), int(rng.integers(4))) > NOISE_THRESHOLD
        if inside is not None:
            mask = mask & inside
        if rng.random() < 0.5:
            mask = mask & _window(size, rng, mask)
        if smallest <= mask.sum() <= largest:
            return mask
    spots = np.argwhere(np.ones((size, size), np.bool_) if inside is None else inside)
    center = spots[rng.integers(len(spots))]
    y, x = np.ogrid[:size, :size]
    return np.asarray((y - center[0]) ** 2 + (x - center[1]) ** 2 <= (rng.uniform(0.02, 0.1) * size) ** 2)


def _window(size: int, rng: Generator, mask: Mask) -> Mask:
    """Return a disc around a random place of the mask."""
    places = np.argwhere(mask)
    if not len(places):
        return mask
    center = places[rng.integers(len(places))]
    y, x = np.ogrid[:size, :size]
    return np.asarray((y - center[0]) ** 2 + (x - center[1]) ** 2 <= (rng.uniform(0.04, 0.15) * size) ** 2)


def find_foreground(photo: Array8) -> Mask | None:
    """Return the part's mask, [S, S], bool; None if the part does not stand out, as in a texture or a crowded picture.

    The mask holds the pixels that differ from the median colour of the photo's border by more than Otsu's threshold.

    Args:
        photo: [S, S, 3], uint8, RGB.
    """
    pixels = photo.astype(np.float32)
    edge = max(1, len(photo) // 48)
    border = np.concatenate([part.reshape(-1, 3) for part in (pixels[:edge], pixels[-edge:],
                                                              pixels[:, :edge], pixels[:, -edge:])])  # fmt: skip
    far = np.abs(pixels - np.median(border, axis=0)).max(axis=2)
    of_border = np.abs(border - np.median(border, axis=0)).max(axis=1)
    threshold = otsu(far)
    part = far > threshold
    share, at_border = part.mean(), (of_border > threshold).mean()
    return part if 0.05 < share < 0.9 and at_border < 0.1 else None


def otsu(values: Floats) -> float:
    """Return the threshold that divides values into two classes with the largest variance between them.

    Args:
        values: Any shape, 0 to 255.
    """
    counts, edges = np.histogram(values, bins=256, range=(0.0, 256.0))
    weight = np.cumsum(counts) / counts.sum()
    mean = np.cumsum(counts * edges[:-1]) / counts.sum()
    between = np.square(mean[-1] * weight - mean) / np.maximum(weight * (1 - weight), 1e-12)
    return float(edges[1:][np.argmax(between)])


def soften(mask: Mask, radius: float) -> Floats:
    """Return the mask as 0 to 1, float32, with a soft edge inside it; outside it stays 0.

    Args:
        mask: [S, S], bool.
        radius: The width of the edge in pixels.
    """
    reach = round(radius)
    if reach < 1:
        return mask.astype(np.float32)
    soft = mask.astype(np.float32)
    for axis in (0, 1):
        total = np.cumsum(np.pad(soft, [(reach + 1, reach) if at == axis else (0, 0) for at in (0, 1)]), axis=axis)
        width = 2 * reach + 1
        ends = np.take(total, range(width, total.shape[axis]), axis)
        soft = np.asarray((ends - np.take(total, range(len(mask)), axis)) / width, np.float32)
    return np.where(mask, soft, np.float32(0))


def draw_texture(size: int, rng: Generator) -> Array8:
    """Draw a texture of two colours that are mixed by noise, by stripes or by grain.

    Args:
        size: The side in pixels.
        rng: The source of randomness.

    Returns:
        [size, size, 3], uint8, RGB.
    """
    first, second = rng.uniform(0, 255, (2, 3)).astype(np.float32)
    kind = rng.integers(3)
    if kind == 0:
        cells = rng.choice(CELLS, 2)
        share = perlin(size, (int(cells[0]), int(cells[1])), rng) * 0.5 + 0.5
    elif kind == 1:
        y, x = np.meshgrid(np.linspace(0, 1, size), np.linspace(0, 1, size), indexing="ij")
        angle, frequency = rng.uniform(0, np.pi), rng.uniform(4, 60)
        wave = np.sin(2 * np.pi * frequency * (np.cos(angle) * x + np.sin(angle) * y))
        share = np.asarray(0.5 + 0.5 * wave, np.float32)
    else:
        coarse = rng.random((int(rng.integers(size // 8, size + 1)),) * 2)
        to_size = bilinear_matrix(len(coarse), (np.arange(size) + 0.5) / size)
        share = np.asarray(to_size @ coarse @ to_size.T, np.float32)
    mixed = first + np.clip(share, 0, 1)[..., None] * (second - first)
    return np.asarray(np.rint(mixed), np.uint8)


def cut_out(shot: Array8, rng: Generator) -> Array8:
    """Move, turn and brighten or darken a photo of a good part, so that a piece of it lies where it does not belong.

    Args:
        shot: [S, S, 3], uint8, RGB.
        rng: The source of randomness.

    Returns:
        [S, S, 3], uint8, RGB.
    """
    size = len(shot)
    shift = rng.integers(size // 8, size - size // 8, 2)
    moved = np.rot90(np.roll(shot, tuple(shift), (0, 1)), int(rng.integers(4)))
    return np.asarray(np.clip(moved * rng.uniform(0.7, 1.3), 0, 255), np.uint8)


def fit(picture: Array8, size: int) -> Array8:
    """Return the middle square of a picture, resized to [size, size, 3].

    Args:
        picture: [H, W, 3], uint8, RGB.
        size: The side in pixels.
    """
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return resize(picture[top : top + side, left : left + side], (size, size))


AUGMENTATIONS: Sequence[Callable[[Image.Image, Generator], Image.Image]] = (
    lambda image, rng: image.point(_gamma(rng.uniform(0.5, 2.0)) * 3),
    lambda image, rng: ImageEnhance.Brightness(image).enhance(rng.uniform(0.7, 1.3)),
    lambda image, _: ImageEnhance.Sharpness(image).enhance(3.0),
    lambda image, rng: ImageEnhance.Color(image).enhance(rng.uniform(0.0, 2.0)),
    lambda image, rng: ImageOps.solarize(image, int(rng.integers(32, 129))),
    lambda image, rng: ImageOps.posterize(image, int(rng.integers(2, 6))),
    lambda image, _: ImageOps.invert(image),
    lambda image, _: ImageOps.autocontrast(image),
    lambda image, _: ImageOps.equalize(image),
    lambda image, rng: image.rotate(rng.uniform(-45, 45), Image.Resampling.BILINEAR),
)
"""DRAEM's ten augmentations; three of them are applied to a texture."""


def _gamma(gamma: float) -> list[int]:
    return [round(255 * (level / 255) ** gamma) for level in range(256)]


def augment(texture: Array8, rng: Generator) -> Array8:
    """Apply three different augmentations to a texture, one after another.

    Args:
        texture: [S, S, 3], uint8, RGB.
        rng: The source of randomness.

    Returns:
        [S, S, 3], uint8, RGB.
    """
    image = Image.fromarray(texture)
    for number in rng.choice(len(AUGMENTATIONS), 3, replace=False):
        image = AUGMENTATIONS[number](image, rng)
    return np.asarray(image)


def whole_and_tiles(photo: Array8, mask: Mask) -> tuple[Array8, Mask]:
    """Divide a photo and its mask into five views: the whole at half size, then its four tiles.

    A pixel of the half-size mask is set if any of its four pixels in the full-size mask is set.

    Args:
        photo: [2S, 2S, 3], uint8, RGB.
        mask: [2S, 2S], bool.

    Returns:
        [5, S, S, 3], uint8, RGB, and [5, S, S], bool.
    """
    size = len(photo) // TILES
    places = [(slice(top, top + size), slice(left, left + size)) for top in (0, size) for left in (0, size)]
    small = mask.reshape(size, TILES, size, TILES).any(axis=(1, 3))
    return (
        np.stack([resize(photo, (size, size)), *(photo[place] for place in places)]),
        np.stack([small, *(mask[place] for place in places)]),
    )

"""PromptAD's released evaluation with its peculiar inputs, so that our numbers are comparable with the paper's.

The peculiarities have the numbers D1 to D3 in docs/promptad.md. Every picture is first resized to 1024×1024, with the
same bits as from OpenCV, and then to the encoder's size. Test photos enter in the order blue, green, red; photos to
learn from enter as RGB. A mask is resized by nearest-neighbour interpolation, and every value above 0 is defective.
Shots come from a list.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.files import printable, read_bytes
from goodparts.runtime.core.preprocess import Array8, load_rgb
from goodparts.runtime.core.scoring import MAP_SIZE
from PIL import Image

from .datasets import Sample, Truth
from .datasets.truth import read_defect_numbers
from .encoded_photos import Photos

Indices = npt.NDArray[np.int32]

FIRST_SIZE = 1024
"""The side in pixels to which every picture is resized first."""
SHOTS_NAME = "selected_samples_per_run.txt"
"""The file in a category's folder that lists its shots."""

DIFFERENCES = (
    "official protocol: settings and inputs of PromptAD's released code; not comparable with rows of the clean "
    "protocol; docs/promptad.md lists the D numbers",
    "as released: pictures to 1024×1024, then the encoder's size (D1); test photos in BGR order (D2); fusion of raw "
    "scores (D18), the memory's maximum of the un-smoothed map (D14), CLIP's logit scale without exp (D10), squared "
    "distances over the second axis (D11, D12), learnable tokens before the name (D8), cyclic pairs (D9)",
    "not as released: the list of good photos is sorted, unlike the code's list, so an index may mean another photo "
    "(D3); prompts are learned in fp32, not fp16 (D5), from another random start; the last step counts, and the best "
    "step on the test data, which the code reports, is in separate columns with --oracle (D13)",
)
"""The lines of a report on the protocol, and on its differences from the released code."""


class OfficialPhotos(Photos):
    """Photos as the released code reads them.

    Args:
        size: The side of the encoder's square input in pixels.
        tested: The test photos, which enter in BGR order.
    """

    def __init__(self, size: int, tested: Collection[Path]) -> None:
        super().__init__(size)
        self._tested = frozenset(tested)

    def _read(self, path: Path) -> Array8:
        first = Image.fromarray(squash(load_rgb(path), FIRST_SIZE))
        view = np.asarray(first.resize((self._size, self._size), Image.Resampling.BICUBIC))
        return np.ascontiguousarray(view[..., ::-1] if path in self._tested else view)


def squash(photo: Array8, size: int) -> Array8:
    """Resize a photo to a square with the same bits as OpenCV's INTER_LINEAR.

    OpenCV is bilinear without antialiasing, in fixed point. Weights have 11 bits. Horizontal sums are shifted right by
    4 bits, and vertical products by 16 bits each. A picture of exactly twice the size is averaged over 2×2 pixels
    instead.

    Args:
        photo: The photo, uint8 [H,W,3].
        size: The side of the square in pixels.

    Returns:
        The resized photo, uint8 [size,size,3].
    """
    pixels = photo.astype(np.int32)
    if photo.shape[:2] == (2 * size, 2 * size):
        squares = pixels.reshape(size, 2, size, 2, 3).sum(axis=(1, 3))
        return np.asarray((squares + 2) >> 2, np.uint8)
    (top, bottom, of_top, of_bottom), (left, right, of_left, of_right) = (
        _neighbours(side, size, hold_ends=axis == 1) for axis, side in enumerate(photo.shape[:2])
    )
    across = (pixels[:, left] * of_left[:, None] + pixels[:, right] * of_right[:, None]) >> 4
    above, below = across[top] * of_top[:, None, None], across[bottom] * of_bottom[:, None, None]
    return np.asarray(((above >> 16) + (below >> 16) + 2) >> 2, np.uint8)


def _neighbours(side: int, size: int, hold_ends: bool) -> tuple[Indices, Indices, Indices, Indices]:
    """Return, for each of `size` places along a side, its two neighbouring pixels and their weights in 2048ths.

    With hold_ends, a place beyond the outer pixels' centres takes the outer pixel with the full weight. In the vertical
    direction OpenCV splits the weight between two copies of that pixel instead, which rounds differently.
    """
    place = ((np.arange(size) + 0.5) / (size / side) - 0.5).astype(np.float32)
    before = np.floor(place).astype(np.int32)
    share = place - before.astype(np.float32)
    if hold_ends:
        share[(before < 0) | (before >= side - 1)] = 0.0
    first, second = (np.clip(before + step, 0, side - 1) for step in (0, 1))
    weights = [np.rint(part * np.float32(2048)).astype(np.int32) for part in (np.float32(1) - share, share)]
    return first, second, weights[0], weights[1]


def official_truth(sample: Sample) -> Truth:
    """Read a sample's mask, resized by nearest-neighbour interpolation to 1024, then to the size of anomaly maps.

    Args:
        sample: A test photo.

    Returns:
        The defective pixels, bool [MAP_SIZE,MAP_SIZE].

    Raises:
        ImageError: A mask is no picture, or marks no pixel.
    """
    mask = np.zeros((MAP_SIZE, MAP_SIZE), np.bool_)
    for path in sample.masks:
        numbers = read_defect_numbers(path, dataclasses.replace(sample, is_numbered=True))
        for size in (FIRST_SIZE, MAP_SIZE):
            rows, columns = (np.arange(size) * side // size for side in numbers.shape)
            numbers = numbers[np.ix_(rows, columns)]
        mask |= numbers > 0
    return Truth(mask)


def read_shots(folder: Path, category: str, photos: Sequence[Path], count: int) -> list[Path]:
    """Return the photos that folder/<category>/selected_samples_per_run.txt lists in its line "#count: index …".

    Args:
        folder: The folder of the categories' folders.
        category: The category.
        photos: All good photos; an index counts them in sorted order.
        count: The number of shots.

    Raises:
        SettingsError: The file does not have this line, or an index has no photo.
        FileError: The file cannot be read.
    """
    path = folder / category / SHOTS_NAME
    for line in read_bytes(path).decode("utf-8", "replace").splitlines():
        head, _, listed = line.partition(":")
        if head.strip() != f"#{count}":
            continue
        try:
            return [sorted(photos)[int(index)] for index in listed.split()]
        except (ValueError, IndexError) as error:
            raise SettingsError(f"{printable(path)}: {line!r} for {len(photos)} good photos: {error}") from error
    raise SettingsError(f'{printable(path)} lists no {count} shots: a line such as "#{count}: 17 …" is needed')

"""PromptAD's released evaluation with its input quirks, so that numbers stand beside the paper's.

The quirks are D1 to D3 of docs/promptad.md.

Every picture is first squashed to 1024×1024 (as OpenCV does it, to the last bit), then to the
encoder's size. Test photos enter in the order blue, green, red; photos to learn from do not. A mask is squashed by
nearest neighbours, and every value above 0 is defective. Shots come from a list.
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
SHOTS_NAME = "selected_samples_per_run.txt"

DIFFERENCES = (
    "official protocol: settings and inputs of PromptAD's released code; not to be compared with rows of the clean "
    "one; docs/promptad.md lists the D numbers",
    "as released: pictures to 1024×1024, then the encoder's size (D1); test photos in BGR order (D2); fusion of raw "
    "scores (D18), the memory's maximum of the un-smoothed map (D14), CLIP's logit scale without exp (D10), squared "
    "distances over the second axis (D11, D12), learnable tokens before the name (D8), cyclic pairs (D9)",
    "not as released: the list of good photos is sorted, which the code's is not, so indices may mean others (D3); "
    "prompts are learned in fp32, not fp16 (D5), from another random start; the last step counts, and the best one on "
    "the test data, which the code reports, is in columns of its own with --oracle (D13)",
)


class OfficialPhotos(Photos):
    """Photos as the released code reads them; those of `tested` enter in BGR order."""

    def __init__(self, size: int, tested: Collection[Path]) -> None:
        super().__init__(size)
        self._tested = frozenset(tested)

    def _read(self, path: Path) -> Array8:
        first = Image.fromarray(squash(load_rgb(path), FIRST_SIZE))
        view = np.asarray(first.resize((self._size, self._size), Image.Resampling.BICUBIC))
        return np.ascontiguousarray(view[..., ::-1] if path in self._tested else view)


def squash(photo: Array8, size: int) -> Array8:
    """Resize a photo uint8 [H,W,3] to [size,size,3] as OpenCV's INTER_LINEAR does, to the last bit.

    OpenCV is bilinear without antialiasing, in fixed point: weights have 11 bits, sums across are cut to 4 bits less,
    products down are cut by 16 bits each. A picture of exactly twice the size is averaged over 2×2 pixels instead.
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
    """Return, for each of size places along a side, its two neighbouring pixels and their weights in 2048ths.

    hold_ends gives places beyond the outer pixels' centres the outer pixel with the full weight. Down the picture
    OpenCV splits the weight between two copies of that pixel instead, which rounds otherwise.
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
    """Read a sample's mask by nearest neighbours at 1024, then at the size of anomaly maps."""
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

    Raises SettingsError for a file without this line, and for an index without a photo.
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

"""Ground truth: which pixels of a photo are defective, at the photo's size or resized."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from goodparts.runtime.core.errors import ImageError
from goodparts.runtime.core.files import printable, read_bytes
from goodparts.runtime.core.masks import defect_numbers, describe_values, marked
from goodparts.runtime.core.preprocess import opened, read_size
from PIL import Image

from .samples import Sample, Saturation

Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.floating] | npt.NDArray[np.uint8]
"""A number for each pixel [H,W]."""


@dataclass(frozen=True, eq=False)
class Truth:
    """The defective pixels of a photo.

    Attributes:
        mask: The defective pixels, bool [H,W].
        defects: Each defect's mask, bool [H,W], and its saturation area in pixels; masks may overlap. None if the data
            set states no saturation areas.
    """

    mask: Flags
    defects: tuple[tuple[Flags, int], ...] | None = None

    def resized(self, height: int, width: int) -> Truth:
        """Return the truth at another size; a saturation area stays the same share of its defect.

        Args:
            height: The new height in pixels.
            width: The new width in pixels.
        """
        mask = resize_mask(self.mask, height, width)
        if self.defects is None:
            return Truth(mask)
        defects = []
        for large, area in self.defects:
            small = resize_mask(large, height, width)
            share = area / np.count_nonzero(large)
            defects.append((small, max(1, round(share * np.count_nonzero(small)))))
            mask = mask | small  # resizing the whole mask may lose a small defect beside a large one
        return Truth(mask, tuple(defects))


def resize_mask(mask: Flags, height: int, width: int) -> Flags:
    """Resize a mask: a pixel is defective if at least half of its area is, and the most defective pixel always is.

    Args:
        mask: The mask, bool [H,W].
        height: The new height in pixels.
        width: The new width in pixels.

    Returns:
        The resized mask, bool [height,width].
    """
    share = Image.fromarray(mask.astype(np.uint8) * 255).resize((width, height), Image.Resampling.BOX)
    covered = np.asarray(share)
    return covered >= min(128, max(1, int(covered.max())))


def load_truth(sample: Sample, saturations: Mapping[int, Saturation] | None = None) -> Truth:
    """Read a test photo's defective pixels at the photo's size.

    Args:
        sample: The test photo.
        saturations: Saturation areas by the mask value of the defect, or None.

    Returns:
        The defective pixels, with each mask's defect if saturation areas are given.

    Raises:
        ImageError: A bad photo has no mask, or a mask is no picture, has another size than the photo, marks no pixel,
            or marks a defect whose saturation area is not stated.
        FileError: A file cannot be read.
    """
    width, height = read_size(sample.path)
    if not sample.marked:
        raise ImageError(f"{printable(sample.path)} has no mask: the photo counts in image metrics only; add a mask")
    truth = np.zeros((height, width), np.bool_)
    defects = []
    for path in sample.masks:
        numbers = read_defect_numbers(path, sample)
        check_size(path, (numbers.shape[1], numbers.shape[0]), sample.path, (width, height))
        marks = numbers > 0
        truth |= marks
        if saturations is not None:
            defects.append((marks, _saturation(path, numbers[marks], saturations)))
    return Truth(truth, None if saturations is None else tuple(defects))


def read_defect_numbers(path: Path, sample: Sample) -> Numbers:
    """Read a mask of a test photo as each pixel's defect number, [H,W]; 0 stands for no defect.

    Args:
        path: The mask.
        sample: The test photo. If its data set's masks do not number the defects, all defective pixels get 1.

    Returns:
        The numbers.

    Raises:
        ImageError: The mask is no picture, or marks no pixel. A bad photo without a defective pixel would lower the
            pixel metrics unnoticed.
        FileError: The mask cannot be read.
    """
    name = printable(path)
    with opened(read_bytes(path), name) as image:
        numbers = defect_numbers(image) if sample.is_numbered else marked(image).astype(np.uint8)
        if not (numbers > 0).any():
            raise ImageError(
                f"mask {name} marks no pixel of the bad photo {printable(sample.path)} ({describe_values(image)}): "
                "mark its defect, or move the photo to the good photos"
            )
        return numbers


def check_size(mask: Path, mask_size: tuple[int, int], photo: Path, photo_size: tuple[int, int]) -> None:
    """Check that a mask has its photo's size.

    Args:
        mask: The mask.
        mask_size: Its width and height in pixels.
        photo: The photo.
        photo_size: Its width and height in pixels.

    Raises:
        ImageError: The sizes differ.
    """
    if mask_size != photo_size:
        raise ImageError(
            f"{printable(mask)} is {mask_size[0]}×{mask_size[1]} pixels, its photo {printable(photo)} "
            f"{photo_size[0]}×{photo_size[1]}: a mask must have its photo's size"
        )


def _saturation(path: Path, values: Numbers, saturations: Mapping[int, Saturation]) -> int:
    """Return the saturation area of the one defect that a mask marks, with `values` [n]."""
    distinct = np.unique(values).tolist()
    if len(distinct) != 1 or distinct[0] not in saturations:
        known = " ".join(map(str, sorted(saturations)))
        stored = " ".join(f"{value:g}" for value in distinct)
        raise ImageError(
            f"{printable(path)} marks defects with {stored}: a mask must have one of the values {known}, for which a "
            "saturation area is stated"
        )
    return saturations[distinct[0]].area(values.size)

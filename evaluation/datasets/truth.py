"""Which pixels are defective: masks at the photo's size, and resized by one rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from goodparts.runtime.core.errors import ImageError
from goodparts.runtime.core.files import printable
from PIL import Image, UnidentifiedImageError

from .samples import Sample, Saturation

Flags = npt.NDArray[np.bool_]

_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)
"""EXIF's tag, and those of its values that exchange width and height."""


@dataclass(frozen=True, eq=False)
class Truth:
    """mask: bool [H,W], every defective pixel. defects: where the data set states saturation areas, each defect's mask
    bool [H,W] and area in pixels; they may overlap."""

    mask: Flags
    defects: tuple[tuple[Flags, int], ...] | None = None

    def resized(self, height: int, width: int) -> Truth:
        """At another size; a saturation area stays the same share of its defect."""
        mask = resize_mask(self.mask, height, width)
        if self.defects is None:
            return Truth(mask)
        defects = []
        for large, area in self.defects:
            small = resize_mask(large, height, width)
            share = area / np.count_nonzero(large)
            defects.append((small, max(1, round(share * np.count_nonzero(small)))))
            mask = mask | small  # a small defect is kept beside a large one
        return Truth(mask, tuple(defects))


def resize_mask(mask: Flags, height: int, width: int) -> Flags:
    """Pixels of which at least half is defective, and always the worst one. bool [H,W] → bool [height,width]."""
    share = Image.fromarray(mask.astype(np.uint8) * 255).resize((width, height), Image.Resampling.BOX)
    covered = np.asarray(share)
    return covered >= min(128, max(1, int(covered.max())))


def load_truth(sample: Sample, saturations: Mapping[int, Saturation] | None = None) -> Truth:
    """A sample's defective pixels at its photo's own size.

    Raises ImageError for a mask that is missing, unreadable, of another size than the photo, or that marks a defect
    whose saturation area is not stated.
    """
    width, height = read_size(sample.path)
    if not sample.marked:
        raise ImageError(f"{printable(sample.path)} has no mask: only metrics of images can be taken over it")
    mask = np.zeros((height, width), np.bool_)
    defects = []
    for path in sample.masks:
        values = _read_values(path, sample.level)
        check_size(path, (values.shape[1], values.shape[0]), sample.path, (width, height))
        marked = values > sample.level
        mask |= marked
        if saturations is not None and marked.any():
            defects.append((marked, _saturation(path, values[marked], saturations)))
    return Truth(mask, None if saturations is None else tuple(defects))


def check_size(mask: Path, size: tuple[int, int], photo: Path, wanted: tuple[int, int]) -> None:
    """ImageError unless a mask has its photo's size, both (width, height)."""
    if size != wanted:
        raise ImageError(
            f"{printable(mask)} is {size[0]}×{size[1]} pixels, its photo {printable(photo)} {wanted[0]}×{wanted[1]}: "
            "a mask has its photo's size"
        )


def read_size(path: Path) -> tuple[int, int]:
    """Width and height of a picture as it is seen, from the header alone."""
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(_ORIENTATION) in _TURNED
            return (image.height, image.width) if turned else image.size
    except UnidentifiedImageError:
        raise ImageError(f"{printable(path)} is not a picture in a known format") from None
    except OSError as error:
        raise ImageError(f"cannot read {printable(path)}: {error.strerror or error}") from error


def _read_values(path: Path, level: int) -> npt.NDArray[np.uint8]:
    """Grey values [H,W]; the numbers as they are stored where a mask numbers its defects (level 0)."""
    try:
        with Image.open(path) as image:
            plain = image if level == 0 and image.mode in ("L", "P") else image.convert("L")
            return np.asarray(plain, np.uint8)
    except UnidentifiedImageError:
        raise ImageError(f"{printable(path)} is not a picture in a known format") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"mask {printable(path)} is missing or damaged: {error}") from error


def _saturation(path: Path, values: npt.NDArray[np.uint8], saturations: Mapping[int, Saturation]) -> int:
    """The saturation area of the one defect that a mask marks, with `values` [n]."""
    found = np.unique(values).tolist()
    if len(found) != 1 or found[0] not in saturations:
        known = " ".join(map(str, sorted(saturations)))
        raise ImageError(
            f"{printable(path)} marks defects with {' '.join(map(str, found))}: one of {known} is needed, those "
            "with a stated saturation area"
        )
    return saturations[found[0]].area(values.size)

"""Ground truth: which pixels of a photo are defective, at its own size and resized by one rule."""

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
"""EXIF's tag of the orientation, and its values that exchange width and height."""


@dataclass(frozen=True, eq=False)
class Truth:
    """The defective pixels of a photo.

    mask is bool [H,W]. defects are given where the data set states saturation areas: each defect's mask bool [H,W] and
    area in pixels; they may overlap.
    """

    mask: Flags
    defects: tuple[tuple[Flags, int], ...] | None = None

    def resized(self, height: int, width: int) -> Truth:
        """Return the truth at another size; a saturation area stays the same share of its defect."""
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
    """Resize a mask bool [H,W] to [height,width]: pixels at least half defective, and always the most defective one."""
    share = Image.fromarray(mask.astype(np.uint8) * 255).resize((width, height), Image.Resampling.BOX)
    covered = np.asarray(share)
    return covered >= min(128, max(1, int(covered.max())))


def load_truth(sample: Sample, saturations: Mapping[int, Saturation] | None = None) -> Truth:
    """Read a sample's defective pixels at its photo's own size.

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


def check_size(mask: Path, mask_size: tuple[int, int], photo: Path, photo_size: tuple[int, int]) -> None:
    """Raise ImageError unless a mask has its photo's size, both (width, height)."""
    if mask_size != photo_size:
        raise ImageError(
            f"{printable(mask)} is {mask_size[0]}×{mask_size[1]} pixels, its photo {printable(photo)} "
            f"{photo_size[0]}×{photo_size[1]}: a mask has its photo's size"
        )


def read_size(path: Path) -> tuple[int, int]:
    """Return width and height of a picture as it is seen; only its header is read."""
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(_ORIENTATION) in _TURNED
            return (image.height, image.width) if turned else image.size
    except UnidentifiedImageError:
        raise ImageError(f"{printable(path)} is not a picture in a known format") from None
    except OSError as error:
        raise ImageError(f"cannot read {printable(path)}: {error.strerror or error}") from error


def _read_values(path: Path, level: int) -> npt.NDArray[np.uint8]:
    """Read a mask's grey values [H,W]; with level 0, where values number defects, they are read as stored."""
    try:
        with Image.open(path) as image:
            plain = image if level == 0 and image.mode in ("L", "P") else image.convert("L")
            return np.asarray(plain, np.uint8)
    except UnidentifiedImageError:
        raise ImageError(f"{printable(path)} is not a picture in a known format") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"mask {printable(path)} is missing or damaged: {error}") from error


def _saturation(path: Path, values: npt.NDArray[np.uint8], saturations: Mapping[int, Saturation]) -> int:
    """Return the saturation area of the one defect that a mask marks, with `values` [n]."""
    distinct = np.unique(values).tolist()
    if len(distinct) != 1 or distinct[0] not in saturations:
        known = " ".join(map(str, sorted(saturations)))
        raise ImageError(
            f"{printable(path)} marks defects with {' '.join(map(str, distinct))}: one of {known} is needed, those "
            "with a stated saturation area"
        )
    return saturations[distinct[0]].area(values.size)

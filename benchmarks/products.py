"""Products to measure accuracy on: drawn ones, and folders of real photos with masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from goodparts.runtime.errors import ImageError
from goodparts.runtime.files import find_images
from goodparts.runtime.preprocess import Array8, load_rgb
from goodparts.runtime.view import View
from goodparts.trainer.demo.parts import DEFECTS
from goodparts.trainer.demo.photos import Line
from PIL import Image


@dataclass(frozen=True, eq=False)
class Product:
    """text: its name in words. As the encoder reads them, uint8: pool [n,S,S,3], good photos to learn from, and
    tests [N,S,S,3] with masks bool [N,S,S], all False for a good one."""

    text: str
    pool: Array8
    tests: Array8
    masks: npt.NDArray[np.bool_]

    @property
    def bad(self) -> npt.NDArray[np.bool_]:
        """Which of the tests are defective, [N]."""
        return np.asarray(self.masks.any(axis=(1, 2)))


def draw_product(kind: str, seed: int, size: int, *, pool: int, good: int, bad: int) -> Product:
    """A line of drawn parts; its defects take turns."""
    line = Line(kind, seed)
    square = size, size
    photos = [line.photo(1000 + index, size=square) for index in range(good)]
    photos += [line.photo(2000 + index, DEFECTS[index % len(DEFECTS)], size=square) for index in range(bad)]
    return Product(
        kind,
        np.stack([line.photo(index, size=square).image for index in range(pool)]),
        np.stack([photo.image for photo in photos]),
        np.stack([photo.mask for photo in photos]),
    )


def load_product(folder: Path, size: int) -> Product:
    """A folder in MVTec's layout: train/good, test/good, test/<defect>, ground_truth/<defect>/<name>_mask.*."""
    tests = find_images([folder / "test"])
    return Product(
        folder.name.replace("_", " "),
        np.concatenate([View().cut(load_rgb(path), size) for path in find_images([folder / "train" / "good"])]),
        np.concatenate([View().cut(load_rgb(path), size) for path in tests]),
        np.stack([_load_mask(folder, path, size) for path in tests]),
    )


def _load_mask(folder: Path, photo: Path, size: int) -> npt.NDArray[np.bool_]:
    """Pixels of the encoder's square of which at least half is defective, and always the worst one."""
    if photo.parent.name == "good":
        return np.zeros((size, size), np.bool_)
    found = sorted((folder / "ground_truth" / photo.parent.name).glob(f"{photo.stem}_mask.*"))
    if len(found) != 1:
        raise ImageError(f"{photo}: {len(found)} masks beside it in ground_truth, exactly one is needed")
    with Image.open(found[0]) as mask:
        share = mask.convert("L").point(lambda value: 255 * (value > 127)).resize((size, size), Image.Resampling.BOX)
    covered = np.asarray(share)
    return covered >= min(128, max(1, int(covered.max())))

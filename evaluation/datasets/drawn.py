"""Drawn parts as a data set: a category for each kind of part, in MVTec AD's layout.

The small backbone was trained on other drawn products, and its held-out kinds were never used for training.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from goodparts.drawn.parts import DEFECTS, KINDS
from goodparts.drawn.photos import DrawnProduct
from goodparts.runtime.core.files import scratch, writing
from PIL import Image

from .layouts import DataSet, open_data

DRAWN = "drawn"
"""The name of the data set, which --data takes."""
SEED = 2000
"""The seed of the products; the small backbone's training counts from 0, the accuracy study from 1000."""
TRAIN, GOOD, BAD = 16, 16, 16
"""The numbers of training photos, good test photos and bad test photos in a category. All defects appear in turn."""


def draw_data(root: Path) -> DataSet:
    """Draw the categories that are missing, and open the data set.

    A category appears only when all its photos are drawn.

    Args:
        root: The data set's folder, made if it does not exist.

    Returns:
        The data set.

    Raises:
        FileError: The folder cannot be written, for example because the disk is full.
    """
    with writing(root):
        root.mkdir(parents=True, exist_ok=True)
        for kind in KINDS:
            folder = root / kind.replace(" ", "_")
            if folder.exists():
                continue
            with scratch(folder) as unfinished:
                _draw(DrawnProduct(kind, SEED), unfinished)
                try:
                    unfinished.rename(folder)
                except OSError:
                    if not folder.exists():  # otherwise another process was faster
                        raise
    return open_data(root, "mvtec")


def _draw(product: DrawnProduct, folder: Path) -> None:
    photos: list[tuple[str, str | None]] = []
    photos += [("train/good", None)] * TRAIN + [("test/good", None)] * GOOD
    photos += [(f"test/{name.replace(' ', '_')}", name) for name in (DEFECTS * BAD)[:BAD]]
    for number, (subfolder, defect) in enumerate(photos):
        photo = product.photo(number, defect)
        _save(photo.image, folder / subfolder / f"{number:03}.png")
        if defect is not None:
            _save(photo.mask, folder / subfolder.replace("test", "ground_truth") / f"{number:03}_mask.png")


def _save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)

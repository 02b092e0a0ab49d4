"""Drawn parts as a data set: a category for each kind of the demo, in MVTec AD's layout.

Of lines that the demo CLIP was not trained on; of its held-out kinds it has seen none at all.
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
SEED = 2000
"""Of the products; the embedded backbone's training counts from 0, the accuracy study from 1000."""
TRAIN, GOOD, BAD = 16, 16, 16
"""Photos of a category; defects take turns."""


def draw_data(root: Path) -> DataSet:
    """Draw what is not there yet; a category appears whole or not at all. FileError when the disk is full."""
    with writing(root):
        root.mkdir(parents=True, exist_ok=True)
        for kind in KINDS:
            folder = root / kind.replace(" ", "_")
            if folder.exists():
                continue
            with scratch(folder) as part:
                _draw(DrawnProduct(kind, SEED), part)
                try:
                    part.rename(folder)
                except OSError:
                    if not folder.exists():  # or another process was faster
                        raise
    return open_data(root, "mvtec")


def _draw(product: DrawnProduct, folder: Path) -> None:
    places: list[tuple[str, str | None]] = []
    places += [("train/good", None)] * TRAIN + [("test/good", None)] * GOOD
    places += [(f"test/{name.replace(' ', '_')}", name) for name in (DEFECTS * BAD)[:BAD]]
    for number, (place, defect) in enumerate(places):
        photo = product.photo(number, defect)
        _save(photo.image, folder / place / f"{number:03}.png")
        if defect is not None:
            _save(photo.mask, folder / place.replace("test", "ground_truth") / f"{number:03}_mask.png")


def _save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)

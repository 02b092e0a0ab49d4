"""Products to measure accuracy on: drawn ones, and folders of real photos with masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from goodparts.runtime.preprocess import Array8, load_rgb
from goodparts.runtime.view import View
from goodparts.trainer.demo.parts import DEFECTS
from goodparts.trainer.demo.photos import Line

from .datasets.folders import read_mvtec
from .datasets.truth import load_truth


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
    """A category in MVTec AD's layout."""
    split = read_mvtec(folder)
    return Product(
        split.text,
        np.concatenate([View().cut(load_rgb(path), size) for path in split.train]),
        np.concatenate([View().cut(load_rgb(sample.path), size) for sample in split.test]),
        np.stack([load_truth(sample).resized(size, size).mask for sample in split.test]),
    )

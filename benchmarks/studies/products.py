"""Products to measure accuracy on: drawn products, and folders of real photos with masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from goodparts.drawn.parts import DEFECTS, HELD_OUT_KINDS
from goodparts.drawn.photos import DrawnProduct
from goodparts.evaluation.datasets.folders import read_mvtec
from goodparts.evaluation.datasets.truth import load_truth
from goodparts.evaluation.report.report import Findings
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.preprocess import Array8, load_rgb
from goodparts.runtime.core.view import View

FIRST_LINE = 1000
"""The seed of the first drawn product that is measured. The small backbone was trained on other seeds."""


@dataclass(frozen=True, eq=False)
class MeasuredProduct:
    """A product's photos as the encoder reads them, uint8 RGB.

    Attributes:
        text: The product in words.
        pool: The good photos to learn from, [n,S,S,3].
        tests: The photos to test with, [N,S,S,3].
        masks: The defects of the tests, bool [N,S,S], all False for a good one.
    """

    text: str
    pool: Array8
    tests: Array8
    masks: npt.NDArray[np.bool_]

    @property
    def bad(self) -> npt.NDArray[np.bool_]:
        """Whether each of the tests is defective, [N]."""
        return np.asarray(self.masks.any(axis=(1, 2)))


def draw_product(kind: str, seed: int, size: int, *, pool: int, good: int, bad: int) -> MeasuredProduct:
    """Draw a line of parts. The bad parts show all defects in turn.

    Args:
        kind: A kind of drawn part.
        seed: The seed of the product.
        size: The side of the square photos in pixels.
        pool: The number of good photos to learn from.
        good: The number of good photos to test with.
        bad: The number of bad photos to test with.

    Returns:
        The product. Its good tests come before its bad ones.
    """
    line = DrawnProduct(kind, seed)
    square = size, size
    photos = [line.photo(1000 + index, size=square) for index in range(good)]
    photos += [line.photo(2000 + index, DEFECTS[index % len(DEFECTS)], size=square) for index in range(bad)]
    return MeasuredProduct(
        kind,
        np.stack([line.photo(index, size=square).image for index in range(pool)]),
        np.stack([photo.image for photo in photos]),
        np.stack([photo.mask for photo in photos]),
    )


def load_product(folder: Path, size: int) -> MeasuredProduct:
    """Load a category in MVTec AD's layout.

    Args:
        folder: The category's folder.
        size: The side of the square that the encoder reads, in pixels.

    Returns:
        The product, whose pool has all photos of train/good.

    Raises:
        FileError: A photo or a folder of the layout is missing or cannot be read.
        ImageError: A photo is damaged, or a bad photo does not have exactly one mask that fits.
    """
    split = read_mvtec(folder)
    return MeasuredProduct(
        split.text,
        np.concatenate([View().cut(load_rgb(path), size) for path in split.train]),
        np.concatenate([View().cut(load_rgb(sample.path), size) for sample in split.test]),
        np.stack([load_truth(sample).resized(size, size).mask for sample in split.test]),
    )


def find_products(root: Path) -> list[Path]:
    """List the categories of a data set.

    Args:
        root: A folder with folders in MVTec's layout.

    Returns:
        The categories' folders, sorted; at least one.

    Raises:
        SettingsError: There is none.
    """
    folders = sorted(path.parents[1] for path in root.glob("*/train/good"))
    if not folders:
        raise SettingsError(f"--data {root}: no folder in it has train/good, as in MVTec's layout")
    return folders


def gather_sets(
    findings: Findings, data: Path | None, size: int, *, lines: int, pool: int, good: int, bad: int
) -> dict[str, list[MeasuredProduct]]:
    """Return products by the name of their set: drawn lines of each kind, and real photos.

    The kinds are those that the small backbone was not trained on.

    Args:
        findings: Gets a remark if there are no real photos.
        data: A folder with folders of real photos in MVTec's layout; None for no real photos.
        size: The side of the square that the encoder reads, in pixels.
        lines: The number of lines of each kind.
        pool: As for `draw_product`.
        good: As for `draw_product`.
        bad: As for `draw_product`.

    Raises:
        SettingsError: The folder of real photos holds no category.
        FileError: A photo or a folder of the layout is missing or cannot be read.
        ImageError: A photo is damaged, or a bad photo does not have exactly one mask that fits.
    """
    sets = {
        f"drawn {kind}": [
            draw_product(kind, seed, size, pool=pool, good=good, bad=bad)
            for seed in range(FIRST_LINE, FIRST_LINE + lines)
        ]
        for kind in HELD_OUT_KINDS
    }
    if data is None:
        findings.remarks.append("real photos were not measured: --data ROOT takes folders in MVTec's layout")
        return sets
    return sets | {folder.name: [load_product(folder, size)] for folder in find_products(data)}

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

    text: the product's name in words; pool: [n,S,S,3], good photos to learn from; tests: [N,S,S,3]; masks: bool
    [N,S,S], the defects of the tests, all False for a good one.
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

    size: side of the square photos in pixels; pool: number of photos to learn from; good, bad: numbers of photos to
    test with.
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
    """Load a category in MVTec AD's layout. size: side of the square that the encoder reads, in pixels."""
    split = read_mvtec(folder)
    return MeasuredProduct(
        split.text,
        np.concatenate([View().cut(load_rgb(path), size) for path in split.train]),
        np.concatenate([View().cut(load_rgb(sample.path), size) for sample in split.test]),
        np.stack([load_truth(sample).resized(size, size).mask for sample in split.test]),
    )


def find_products(root: Path) -> list[Path]:
    """List the folders of `root` in MVTec's layout, sorted. Raise SettingsError if there is none."""
    folders = sorted(path.parents[1] for path in root.glob("*/train/good"))
    if not folders:
        raise SettingsError(f"--data {root}: no folder in it has train/good, as in MVTec's layout")
    return folders


def gather_sets(
    findings: Findings, data: Path | None, size: int, *, lines: int, pool: int, good: int, bad: int
) -> dict[str, list[MeasuredProduct]]:
    """Return products by the name of their set: drawn lines of each kind that the small backbone was not trained on,
    and real photos.

    findings: gets a remark if there are no real photos; data: a folder with folders of real photos; size: side of the
    square that the encoder reads; lines: number of lines of each kind; pool, good, bad: as for `draw_product`.
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

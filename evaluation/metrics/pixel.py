"""Metrics over the pixels of all maps of a data set, map by map: pixel AUROC, AUPR, PRO and saturated PRO.

Exact, in bounded memory. What the metrics need is, for each distinct score of a defective pixel, how many good
pixels score above it and how many the same (`metrics`). Scores of defective pixels are kept; those of good pixels, by
far the most, are sorted in blocks, go to a file where there is more than one, and are counted against them at the end.

PRO: Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 2021; saturated PRO: Bergmann et al., Beyond Dents
and Scratches, IJCV 2022.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
from goodparts.runtime.core.files import writing
from scipy import ndimage

from .image import Curve, Flags, Measured, Real, Whole, check_finite, not_measured

Map = npt.NDArray[np.float32]
Saturated = tuple[Flags, int]
"""A defect: its mask bool [H,W], and the area in pixels from which on it counts as found."""

PRO_LIMIT, SPRO_LIMIT = 0.3, 0.05
"""False-positive rates up to which the areas are taken: those that the two papers head their tables with."""
PIXEL_METRICS = ("pixel_auroc", "pixel_aupr", "pixel_pro")

BLOCK = 1 << 25
"""Good pixels' scores that are sorted at a time; all but the last block lie in a file."""
_EIGHT_NEIGHBOURS = np.ones((3, 3), np.int8)


class PixelTally:
    """Takes maps and their masks one after another, then measures.

    Memory: 4 bytes a defective pixel (4 more where it lies in a defect with a saturation area), and a block; while
    measuring about 60 bytes for each distinct score of theirs and another block (`bench pixels` measures it). File: 4
    bytes a good pixel, without a name, in `folder` or where the system keeps temporary files; gone when the tally is
    closed.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or Path(tempfile.gettempdir())
        self._sorted = tempfile.SpooledTemporaryFile(max_size=1, dir=str(self._folder))  # noqa: SIM115
        self._block: Map = np.empty(BLOCK, np.float32)
        self._filled = 0
        self._goods = 0
        self._regions: list[Map] = []
        self._saturated: list[Map] = []
        self._has_saturation = False

    def __enter__(self) -> PixelTally:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._sorted.close()

    def add(self, scores: Map, mask: Flags, defects: Sequence[Saturated] | None = None) -> None:
        """Count a map: scores float32 [H,W], finite; mask bool [H,W], the defective pixels, all False for a good part.

        defects: where the data set states saturation areas, each defect of this picture (none of a good one); they
        may overlap. ValueError for other shapes and types; FileError when the disk is full.
        """
        if scores.dtype != np.float32 or scores.ndim != 2:
            raise ValueError(f"map is {scores.dtype} {list(scores.shape)}: float32 [H,W] is needed")
        for one in (mask, *(defect for defect, _ in defects or ())):
            if one.dtype != np.bool_ or one.shape != scores.shape:
                raise ValueError(
                    f"mask is {one.dtype} {list(one.shape)}: bool {list(scores.shape)} is needed, as the map; resize it"
                )
        if any((defect & ~mask).any() for defect, _ in defects or ()):
            raise ValueError("a defect marks pixels that the mask calls good: the mask must cover every defect")
        check_finite(scores)
        defective = bool(mask.any())
        if defective:
            order, ends = _find_regions(np.packbits(mask).tobytes(), mask.shape)
            self._regions += map(np.sort, np.split(scores[mask][order], ends))
        if defects is not None:
            self._has_saturation = True
            self._saturated += [_highest(scores[defect], area) for defect, area in defects]
        self._keep(scores[~mask] if defective else scores.ravel())

    def _keep(self, good: Map) -> None:
        """Good pixels' scores [n]; a block that is full is sorted and written."""
        self._goods += good.size
        while good.size:
            some = good[: self._block.size - self._filled]
            self._block[self._filled : self._filled + some.size] = some
            self._filled += some.size
            good = good[some.size :]
            if self._filled == self._block.size:
                self._block.sort()
                with writing(self._folder / "temporary file"):
                    self._sorted.write(self._block.tobytes())
                self._filled = 0

    def measure(self, limit: float = PRO_LIMIT, saturated_limit: float = SPRO_LIMIT) -> Measured:
        """`pixel_auroc`, `pixel_aupr` (average precision), `pixel_pro` up to the false-positive rate `limit`, and
        `pixel_spro` up to `saturated_limit` where defects with saturation areas were given.

        PRO: at a threshold, the share found of each 8-connected region of each mask, averaged over all regions.
        Saturated PRO: the same of each defect, its found area divided by its saturation area, at most 1. The rate is
        that of all good pixels. NaN where no pixel is defective, or none is good.
        """
        for bound in (limit, saturated_limit):
            if not 0 < bound <= 1:
                raise ValueError(f"limit {bound}: a false-positive rate above 0 and up to 1 is needed")
        names = (*PIXEL_METRICS, "pixel_spro") if self._has_saturation else PIXEL_METRICS
        if not self._regions or not self._goods:
            kind = "defective" if not self._regions else "good"
            return not_measured(names, f"both kinds are needed: no pixel is {kind}")
        distinct, bad = np.unique(np.concatenate(self._regions), return_counts=True)
        above, ties = self._count_good(distinct)
        curve = Curve(bad[::-1], ties[::-1], above[::-1], self._goods)
        values = [curve.auroc(), curve.average_precision(), curve.overlap(_gains(distinct, self._regions), limit)]
        if self._has_saturation:
            values.append(curve.overlap(_gains(distinct, self._saturated), saturated_limit))
        return Measured(dict(zip(names, values, strict=True)))

    def _count_good(self, distinct: Map) -> tuple[Whole, Whole]:
        """Of the good pixels, how many score above each of the ascending `distinct`, and how many the same."""
        below, upto = np.zeros(distinct.size, np.int64), np.zeros(distinct.size, np.int64)
        for block in self._blocks():
            below += np.searchsorted(block, distinct, "left")
            upto += np.searchsorted(block, distinct, "right")
        return self._goods - upto, upto - below

    def _blocks(self) -> Iterator[Map]:
        """All good pixels' scores, each block sorted."""
        last = self._block[: self._filled]
        last.sort()
        yield last
        self._sorted.seek(0)
        while data := self._sorted.read(self._block.nbytes):
            yield np.frombuffer(data, np.float32)


@functools.lru_cache(maxsize=512)
def _find_regions(packed: bytes, shape: tuple[int, int]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The defective pixels of a mask (its packbits), region by region: the order [n] that brings them together, and
    where all regions but the last end. Remembered, as one mask is met with every method's map."""
    mask = np.unpackbits(np.frombuffer(packed, np.uint8), count=shape[0] * shape[1]).reshape(shape).astype(np.bool_)
    regions, count = ndimage.label(mask, _EIGHT_NEIGHBOURS)
    inside = regions[mask]
    return np.argsort(inside, kind="stable"), np.cumsum(np.bincount(inside, minlength=count + 1))[1:-1]


def _highest(scores: Map, area: int) -> Map:
    """The `area` highest of a defect's scores: found, they make it whole, and the others add nothing."""
    if not 1 <= area <= scores.size:
        raise ValueError(f"saturation area {area} of a defect of {scores.size} pixels: 1 to {scores.size} is accepted")
    return np.partition(scores, scores.size - area)[scores.size - area :]


def _gains(distinct: Map, regions: list[Map]) -> Real:
    """By how much the mean share found of the regions grows at each of `distinct` (ascending), the highest first."""
    gains = np.zeros(distinct.size)
    for scores in regions:
        np.add.at(gains, np.searchsorted(distinct, scores), 1 / (scores.size * len(regions)))
    return gains[::-1]

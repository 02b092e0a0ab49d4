"""Metrics over the pixels of all maps of a data set: pixel AUROC, AUPR, PRO and saturated PRO.

They are exact, and need bounded memory. For each distinct score of a defective pixel, the metrics need the number of
good pixels above it and with the same score (curve.py). Scores of defective pixels are kept. Scores of good pixels, of
which there are far more, are sorted in blocks, written to a file if there are several blocks, and counted at the end.

PRO: Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 2021; saturated PRO: Bergmann et al., Beyond Dents and
Scratches, IJCV 2022.
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

from .curve import Counts, Curve, Flags, Gains, check_finite
from .values import MetricValues

Map = npt.NDArray[np.float32]
Saturated = tuple[Flags, int]
"""A defect: its mask bool [H,W], and the area in pixels from which it counts as found."""

PRO_LIMIT, SPRO_LIMIT = 0.3, 0.05
"""The false-positive rates up to which the areas are taken, as in the two papers' main tables."""
PIXEL_METRICS = ("pixel_auroc", "pixel_aupr", "pixel_pro")

BLOCK = 1 << 25
"""The number of good pixels' scores that are sorted together. All blocks but the last lie in a file."""
_EIGHT_NEIGHBOURS = np.ones((3, 3), np.int8)


class PixelTally:
    """Collects maps and their masks one after another, and computes the metrics at the end.

    It needs 4 bytes of memory for each defective pixel (4 more in a defect with a saturation area), and one block.
    While it measures, it needs about 60 bytes for each distinct score of defective pixels, and another block (`bench
    pixels` measures this). A file without a name holds 4 bytes for each good pixel; closing the tally removes it.

    Args:
        folder: The folder of that file; the system's temporary folder if None.
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
        """Close the file of sorted scores."""
        self._sorted.close()

    def add(self, scores: Map, mask: Flags, defects: Sequence[Saturated] | None = None) -> None:
        """Add a map.

        Args:
            scores: The map, float32 [H,W], finite.
            mask: The defective pixels, bool [H,W]; all False for a good part.
            defects: Each defect of this picture, if the data set states saturation areas; empty for a good part.
                Defects may overlap. None if the data set states no saturation areas.

        Raises:
            ValueError: An array has another shape or type, a score is not finite, a defect is not covered by the mask,
                or a saturation area is out of range.
            FileError: The disk is full.
        """
        if scores.dtype != np.float32 or scores.ndim != 2:
            raise ValueError(f"map is {scores.dtype} {list(scores.shape)}: float32 [H,W] is needed")
        for marked in (mask, *(defect for defect, _ in defects or ())):
            if marked.dtype != np.bool_ or marked.shape != scores.shape:
                raise ValueError(
                    f"mask is {marked.dtype} {list(marked.shape)}: bool {list(scores.shape)} is needed, as the map; "
                    "resize it"
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
        """Keep good pixels' scores [n]; sort and write each block that becomes full."""
        self._goods += good.size
        while good.size:
            part = good[: self._block.size - self._filled]
            self._block[self._filled : self._filled + part.size] = part
            self._filled += part.size
            good = good[part.size :]
            if self._filled == self._block.size:
                self._block.sort()
                with writing(self._folder / "temporary file"):
                    self._sorted.write(self._block.tobytes())
                self._filled = 0

    def measure(self, limit: float = PRO_LIMIT, saturated_limit: float = SPRO_LIMIT) -> MetricValues:
        """Return `pixel_auroc`, `pixel_aupr` (average precision), `pixel_pro` and, with saturation areas, `pixel_spro`.

        PRO is the area under a curve over the false-positive rate of all good pixels. The curve's value at a threshold
        is the found share of each 8-connected region of each mask, averaged over all regions. For saturated PRO, the
        value is each defect's found area divided by its saturation area, at most 1, averaged over all defects. The
        metrics are NaN unless there are defective and good pixels.

        Args:
            limit: The false-positive rate up to which PRO is taken, above 0 and up to 1.
            saturated_limit: The same for saturated PRO.

        Raises:
            ValueError: A rate is out of range.
        """
        for bound in (limit, saturated_limit):
            if not 0 < bound <= 1:
                raise ValueError(f"limit {bound}: a false-positive rate above 0 and up to 1 is needed")
        names = (*PIXEL_METRICS, "pixel_spro") if self._has_saturation else PIXEL_METRICS
        if not self._regions or not self._goods:
            kind = "defective" if not self._regions else "good"
            return MetricValues.without(names, f"both kinds are needed: no pixel is {kind}")
        distinct, bad = np.unique(np.concatenate(self._regions), return_counts=True)
        above, ties = self._count_good(distinct)
        curve = Curve(bad[::-1], ties[::-1], above[::-1], self._goods)
        values = [curve.auroc(), curve.average_precision(), curve.overlap(_gains(distinct, self._regions), limit)]
        if self._has_saturation:
            values.append(curve.overlap(_gains(distinct, self._saturated), saturated_limit))
        return MetricValues(dict(zip(names, values, strict=True)))

    def _count_good(self, distinct: Map) -> tuple[Counts, Counts]:
        """Count the good pixels that score above each of the ascending scores, and those with the same score."""
        below, upto = np.zeros(distinct.size, np.int64), np.zeros(distinct.size, np.int64)
        for block in self._blocks():
            below += np.searchsorted(block, distinct, "left")
            upto += np.searchsorted(block, distinct, "right")
        return self._goods - upto, upto - below

    def _blocks(self) -> Iterator[Map]:
        """Yield all good pixels' scores in sorted blocks."""
        last = self._block[: self._filled]
        last.sort()
        yield last
        self._sorted.seek(0)
        while data := self._sorted.read(self._block.nbytes):
            yield np.frombuffer(data, np.float32)


@functools.lru_cache(maxsize=512)
def _find_regions(packed: bytes, shape: tuple[int, int]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the order [n] that sorts a mask's defective pixels by region, and where all regions but the last end.

    `packed` holds the mask's bits (np.packbits). Results are cached, because every method's map comes with the same
    mask.
    """
    mask = np.unpackbits(np.frombuffer(packed, np.uint8), count=shape[0] * shape[1]).reshape(shape).astype(np.bool_)
    regions, count = ndimage.label(mask, _EIGHT_NEIGHBOURS)
    inside = regions[mask]
    return np.argsort(inside, kind="stable"), np.cumsum(np.bincount(inside, minlength=count + 1))[1:-1]


def _highest(scores: Map, area: int) -> Map:
    """Return the `area` highest of a defect's scores. Once these pixels are found, further pixels change nothing."""
    if not 1 <= area <= scores.size:
        raise ValueError(f"saturation area {area} of a defect of {scores.size} pixels: 1 to {scores.size} is accepted")
    return np.partition(scores, scores.size - area)[scores.size - area :]


def _gains(distinct: Map, regions: list[Map]) -> Gains:
    """Return the increase of the regions' mean found share at each of `distinct` (ascending), the highest first."""
    gains = np.zeros(distinct.size)
    for scores in regions:
        np.add.at(gains, np.searchsorted(distinct, scores), 1 / (scores.size * len(regions)))
    return gains[::-1]

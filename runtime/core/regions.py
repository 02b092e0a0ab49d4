"""Regions: connected parts of an anomaly map whose scores reach the pixel threshold, in frame pixels."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from .scoring import Floats
from .view import Box


class Region(msgspec.Struct, frozen=True):
    """A suspicious place.

    Attributes:
        box: The bounding box, in pixels of the frame.
        area: The area, in pixels of the frame.
        peak: The highest pixel score in the region.
    """

    box: Box
    area: float
    peak: float


def find_regions(scores: Floats, threshold: float, min_area: float, extent: Box) -> list[Region]:
    """Find the regions of an anomaly map. Pixels are connected if they touch at a side or a corner.

    Args:
        scores: The anomaly map, [rows, columns], float32.
        threshold: The score from which a pixel belongs to a region.
        min_area: The smallest area of a region, in pixels of the frame.
        extent: The part of the frame that the map covers, in pixels of the frame.

    Returns:
        The regions, highest peak first.
    """
    labels, count = label(scores >= threshold)
    scale_x, scale_y = extent.width / scores.shape[1], extent.height / scores.shape[0]
    regions = []
    for index in range(1, count + 1):
        rows, columns = np.nonzero(labels == index)
        area = len(rows) * scale_x * scale_y
        if area < min_area:
            continue
        left, top = int(columns.min() * scale_x), int(rows.min() * scale_y)
        right, bottom = round((columns.max() + 1) * scale_x), round((rows.max() + 1) * scale_y)
        box = Box(extent.x + left, extent.y + top, max(1, right - left), max(1, bottom - top))
        regions.append(Region(box, float(area), float(scores[rows, columns].max())))
    return sorted(regions, key=lambda region: -region.peak)


def label(mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.intp], int]:
    """Number the 8-connected parts of a mask.

    The algorithm finds the runs of set pixels in each row and joins runs that touch, with a union-find.

    Args:
        mask: The mask, [height, width], bool.

    Returns:
        The number of each pixel's part, [height, width], counted from 1, and 0 outside of the mask; and how many parts
        there are.
    """
    height, width = mask.shape
    padded = np.zeros((height, width + 2), np.int8)
    padded[:, 1:-1] = mask
    steps = np.diff(padded, axis=1)
    run_row, start = np.nonzero(steps == 1)
    stop = np.nonzero(steps == -1)[1]  # one past the run's end
    parent = list(range(len(start)))

    def root(run: int) -> int:
        while parent[run] != run:
            parent[run] = parent[parent[run]]
            run = parent[run]
        return run

    first_of_row = np.searchsorted(run_row, np.arange(height + 1))
    for row in range(1, height):
        above, here = first_of_row[row - 1], first_of_row[row]
        end_above, end = here, first_of_row[row + 1]
        while above < end_above and here < end:
            if start[above] <= stop[here] and start[here] <= stop[above]:  # touching, diagonals included
                low, high = sorted((root(int(above)), root(int(here))))
                parent[high] = low
            if stop[above] < stop[here]:
                above += 1
            else:
                here += 1
    roots = [root(run) for run in range(len(parent))]
    number = {run: index for index, run in enumerate(dict.fromkeys(roots), start=1)}
    labels = np.zeros((height, width), np.intp)
    for run, top in enumerate(roots):
        labels[run_row[run], start[run] : stop[run]] = number[top]
    return labels, len(number)

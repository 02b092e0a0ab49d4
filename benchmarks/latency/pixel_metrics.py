"""Metrics of all pixels of a test set as large as MVTec AD's: the seconds and the memory of a process.

The peer is scikit-learn's AUROC and average precision of maps in memory. The peer has no PRO. It gets only some of the
maps, because it keeps and sorts all pixels at once.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
from goodparts.evaluation.metrics.curve import Flags
from goodparts.evaluation.metrics.pixel import Map, PixelTally
from goodparts.evaluation.report.report import Findings
from goodparts.runtime.core.scoring import MAP_SIZE, anomaly_map
from sklearn.metrics import average_precision_score, roc_auc_score

from ..timing import check_same

IMAGES, GOOD = 1725, 467
"""The number of all images, and of good images, in MVTec AD's test set."""
SHARE = 50
"""The number of images that the peer gets too."""
GRID = 15
AIM = 2.0
"""The aim for the memory of the process, in GB."""
TOLERANCE = 1e-6
PEER = "scikit-learn, AUROC and AUPR only"


Measurement = tuple[float, float, dict[str, float]]
"""The seconds without the making of the maps, the largest memory of the process in GB, and the metrics by name."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no options: this benchmark has none.

    Args:
        parser: The benchmark's parser.
    """


def measure() -> Findings:
    findings = Findings()
    for images in (SHARE, IMAGES):
        seconds, peak, values = measure_in_own_process(tally_pixels, images)
        size = f"{images} maps of {MAP_SIZE}×{MAP_SIZE}"
        if images == SHARE:
            peer_seconds, _, peer_values = measure_in_own_process(run_scikit_learn, images)
            for name, value in peer_values.items():
                check_same(name, abs(value - values[name]), TOLERANCE)
            findings.add(f"AUROC, AUPR, PRO of {size}", seconds, "s", PEER, peer_seconds)
        else:
            findings.add(f"AUROC, AUPR, PRO of {size}", seconds, "s")
            findings.add(f"the same, largest memory of the process, {values['defective']:.1%} defective", peak, "GB")
            findings.aim("memory of a full data set", peak, AIM, "GB")
    return findings


def tally_pixels(images: int) -> Measurement:
    """Measure PixelTally, and count the share of defective pixels.

    Args:
        images: The number of maps.

    Returns:
        The seconds, the memory, and PixelTally's metrics with the share of defective pixels as "defective".
    """
    seconds, defective = 0.0, 0
    with PixelTally() as tally:
        for scores, mask in make_maps(images):
            start = time.perf_counter()
            tally.add(scores, mask)
            seconds += time.perf_counter() - start
            defective += int(np.count_nonzero(mask))
        start = time.perf_counter()
        values = tally.measure().values
        seconds += time.perf_counter() - start
    return seconds, peak_memory(), values | {"defective": defective / (images * MAP_SIZE**2)}


def run_scikit_learn(images: int) -> Measurement:
    """Measure the peer.

    Args:
        images: The number of maps, which are all in memory.

    Returns:
        The seconds, the memory, and the pixel AUROC and AUPR.
    """
    maps, masks = map(np.stack, zip(*make_maps(images), strict=True))
    start = time.perf_counter()
    metrics = {
        "pixel_auroc": roc_auc_score(masks.ravel(), maps.ravel()),
        "pixel_aupr": average_precision_score(masks.ravel(), maps.ravel()),
    }
    return time.perf_counter() - start, peak_memory(), metrics


def make_maps(images: int) -> Iterator[tuple[Map, Flags]]:
    """Yield maps of smooth noise and their masks. Bad maps, as many as in MVTec AD, are higher in a rectangle.

    Args:
        images: The number of maps.

    Yields:
        The map, float32 [400,400], and the mask, bool [400,400].
    """
    rng = np.random.default_rng(0)
    for number in range(images):
        scores = anomaly_map(rng.random((GRID, GRID), np.float32))
        mask = np.zeros(scores.shape, np.bool_)
        if number * GOOD // IMAGES == (number + 1) * GOOD // IMAGES:
            height, width, y, x = rng.integers((40, 40, 0, 0), (160, 160, 240, 240))
            mask[y : y + height, x : x + width] = True
            scores[mask] += np.float32(0.2)
        yield scores, mask


def peak_memory() -> float:
    """Return the largest memory of this process so far in GB, or NaN if the system does not report it."""
    try:
        import resource
    except ModuleNotFoundError:
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def measure_in_own_process(function: Callable[[int], Measurement], images: int) -> Measurement:
    """Call a function in a process of its own, so that the measured memory is only the function's.

    Args:
        function: A function of a module, which takes the number of maps.
        images: The number of maps.

    Returns:
        What the function returns.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, (images,))

"""Metrics of all pixels of a test set as large as MVTec AD's: seconds, and the memory that a process needs for it.

The peer is scikit-learn's AUROC and average precision, of maps held in memory; it has no PRO, and gets a share of the
maps alone, as it keeps and sorts all pixels at once.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Iterator

import numpy as np
from goodparts.evaluation.metrics.curve import Flags
from goodparts.evaluation.metrics.pixel import Map, PixelTally
from goodparts.evaluation.report.report import Findings, Options, check_same
from goodparts.runtime.core.scoring import MAP_SIZE, anomaly_map
from sklearn.metrics import average_precision_score, roc_auc_score

IMAGES, GOOD = 1725, 467
"""Of MVTec AD's test set: all of them, and the good ones."""
SHARE = 50
"""So many of them for the peer too."""
GRID = 15
AIM = 2.0
"""GB."""
TOLERANCE = 1e-6
PEER = "scikit-learn, AUROC and AUPR alone"


def measure(options: Options) -> Findings:  # noqa: ARG001
    findings = Findings()
    for images in (SHARE, IMAGES):
        seconds, peak, values = _elsewhere(tally, images)
        size = f"{images} maps of {MAP_SIZE}×{MAP_SIZE}"
        if images == SHARE:
            peer_seconds, _, theirs = _elsewhere(scikit_learn, images)
            for name, value in theirs.items():
                check_same(name, abs(value - values[name]), TOLERANCE)
            findings.add(f"AUROC, AUPR, PRO of {size}", seconds, "s", PEER, peer_seconds)
        else:
            findings.add(f"AUROC, AUPR, PRO of {size}", seconds, "s")
            findings.add(f"the same, largest memory of the process, {values['defective']:.1%} defective", peak, "GB")
            findings.aim("memory of a full data set", peak, AIM, "GB")
    return findings


def tally(images: int) -> tuple[float, float, dict[str, float]]:
    """Seconds besides making the maps, the process's peak in GB, the metrics and the share of defective pixels."""
    took, defective = 0.0, 0
    with PixelTally() as taking:
        for scores, mask in make_maps(images):
            start = time.perf_counter()
            taking.add(scores, mask)
            took += time.perf_counter() - start
            defective += int(np.count_nonzero(mask))
        start = time.perf_counter()
        values = taking.measure().values
        took += time.perf_counter() - start
    return took, peak_memory(), values | {"defective": defective / (images * MAP_SIZE**2)}


def scikit_learn(images: int) -> tuple[float, float, dict[str, float]]:
    maps, masks = map(np.stack, zip(*make_maps(images), strict=True))
    start = time.perf_counter()
    found = roc_auc_score(masks.ravel(), maps.ravel()), average_precision_score(masks.ravel(), maps.ravel())
    return time.perf_counter() - start, peak_memory(), dict(zip(("pixel_auroc", "pixel_aupr"), found, strict=True))


def make_maps(images: int) -> Iterator[tuple[Map, Flags]]:
    """Smooth noise, higher in a rectangle on the bad ones, as many as in MVTec AD."""
    draw = np.random.default_rng(0)
    for number in range(images):
        scores = anomaly_map(draw.random((GRID, GRID), np.float32))
        mask = np.zeros(scores.shape, np.bool_)
        if number * GOOD // IMAGES == (number + 1) * GOOD // IMAGES:
            height, width, y, x = draw.integers((40, 40, 0, 0), (160, 160, 240, 240))
            mask[y : y + height, x : x + width] = True
            scores[mask] += np.float32(0.2)
        yield scores, mask


def peak_memory() -> float:
    """The most this process has had in memory, GB; NaN where the system does not say."""
    try:
        import resource
    except ModuleNotFoundError:
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def _elsewhere(function: object, images: int) -> tuple[float, float, dict[str, float]]:
    """In a process of its own, whose memory is nothing else's."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, (images,))  # type: ignore[arg-type]

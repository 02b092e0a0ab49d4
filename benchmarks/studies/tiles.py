"""A defect of 20 pixels in a frame of five megapixels, with tiles and without.

The frames show drawn parts of kinds that the small backbone was not trained on. Among the defects, only the foreign
body was kept out of its training. Scores come from torch (trials.py).
"""

from __future__ import annotations

import argparse
import logging

import numpy as np
import numpy.typing as npt
from goodparts.drawn.parts import HELD_OUT_KINDS
from goodparts.drawn.photos import DrawnProduct
from goodparts.evaluation.metrics.image import auroc
from goodparts.evaluation.report.report import Findings
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.core.scoring import Floats, score
from goodparts.runtime.core.view import View
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.clip.names import DEFAULT_NAME

from .trials import learn

log = logging.getLogger(__name__)

Mask = npt.NDArray[np.bool_]

FRAME, EXTENT = (2048, 2448), 20.0
TILINGS = (1, 1), (2, 2), (4, 4)
"""The tilings, rows and columns. A patch of the small backbone covers 82×68, 43×36 and 22×18 pixels of the frame."""
SHOTS = 4, 8
LINE, FRAMES = 2000, 16
"""The seed of the line, and the number of good frames and of bad frames to test with."""
DEFECTS = "hole", "stain", "wrong colour", "foreign body"
RATE = 0.01
REACH = 40.0
"""A map shows the defect if it peaks within this many pixels of the frame around the defect's box."""
AUROC_AIM = 0.8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no options: this benchmark has none.

    Args:
        parser: The benchmark's parser.
    """


def measure() -> Findings:
    findings, backbone = Findings(), Backbone.open(DEFAULT_NAME)
    for kind in HELD_OUT_KINDS:
        log.info("%s: %d frames are drawn", kind, max(SHOTS) + 2 * FRAMES)
        line = DrawnProduct(kind, LINE)
        pool = [line.photo(index, size=FRAME).image for index in range(max(SHOTS))]
        good = [line.photo(1000 + index, size=FRAME) for index in range(FRAMES)]
        bad = [
            line.photo(2000 + index, DEFECTS[index % len(DEFECTS)], size=FRAME, extent=EXTENT)
            for index in range(FRAMES)
        ]
        frames, masks = [photo.image for photo in (*good, *bad)], [photo.mask for photo in bad]
        untiled, *tiled = (compare(kind, backbone, View(tiles=tiles), pool, frames, masks) for tiles in TILINGS)
        for tiles, measured in zip(TILINGS[1:], tiled, strict=True):
            for (shots, metric), value in measured.items():
                name = f"{kind}, {shots} shots, {tiles[0]}×{tiles[1]} tiles: {metric}"
                higher = "AUROC" in metric or "peak" in metric
                findings.add(name, value, "share", "without tiles", untiled[shots, metric], higher=higher)
                if tiles == TILINGS[-1] and metric == "image AUROC":
                    findings.aim(name, value, AUROC_AIM, "", at_least=True)
    return findings


def compare(
    kind: str, backbone: Backbone, view: View, pool: list[Array8], frames: list[Array8], masks: list[Mask]
) -> dict[tuple[int, str], float]:
    """Return numbers by shots and metric, for one kind of parts and one tiling.

    The metrics are the AUROC of the fused score and of each branch, the share of maps that peak at the defect, and the
    shares of wrong verdicts at the threshold for RATE.

    Args:
        kind: The kind of drawn part.
        backbone: The backbone that encodes the tiles.
        view: The tiles that frames are cut into.
        pool: Good frames to learn from, uint8 RGB [2048,2448,3] each.
        frames: Good frames, then a bad frame for each of the masks, uint8 RGB [2048,2448,3] each.
        masks: The defects of the bad frames, bool [2048,2448] each.
    """
    log.info("%s: %d×%d tiles", kind, *view.tiles)
    shot_views = [view.cut(frame, backbone.encoder.image_size) for frame in pool]
    tests = [backbone.encode(view.cut(frame, backbone.encoder.image_size)) for frame in frames]
    bad = np.arange(len(frames)) >= len(frames) - len(masks)
    measured: dict[tuple[int, str], float] = {}
    for shots in SHOTS:
        learned, memory = learn(backbone, kind, np.concatenate(shot_views[:shots]), view.count)
        scores = [score(features, learned) for features in tests]
        image = np.array([frame_scores.image.max() for frame_scores in scores])
        rejected = image >= memory.calibration.image.threshold(RATE)
        maps = [view.stitch(frame_scores.grid, *FRAME) for frame_scores in scores[-len(masks) :]]
        memory_only = np.array([frame_scores.branches.image_memory.max() for frame_scores in scores])
        prompts_only = np.array([frame_scores.branches.image_prompt.max() for frame_scores in scores])
        metrics = {
            "image AUROC": auroc(bad, image),
            "memory only, image AUROC": auroc(bad, memory_only),
            "prompts only, image AUROC": auroc(bad, prompts_only),
            "maps that peak at it": float(np.mean([*map(peaks_at, maps, masks)])),
            f"missed at {RATE:.0%}": float((~rejected[bad]).mean()),
            f"good rejected at {RATE:.0%}": float(rejected[~bad].mean()),
        }
        measured |= {(shots, metric): value for metric, value in metrics.items()}
    return measured


def peaks_at(scores: Floats, mask: Mask) -> bool:
    """Return whether the map's maximum is within REACH pixels of the mask's box.

    Args:
        scores: The map, float32 [h,w], which covers the whole frame at a resolution of its own.
        mask: The defect's pixels, bool [H,W]; at least one is True.
    """
    peak = (np.array(np.unravel_index(scores.argmax(), scores.shape)) + 0.5) * mask.shape / scores.shape
    inside = np.argwhere(mask)
    return bool((peak >= inside.min(axis=0) - REACH).all() and (peak <= inside.max(axis=0) + REACH).all())

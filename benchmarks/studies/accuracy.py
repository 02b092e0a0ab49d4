"""Measures how well the small backbone tells good from bad parts, and whether thresholds keep false-reject rates.

The photos show drawn parts and, with --data, real parts (folders in MVTec's layout). The kinds of drawn parts and two
of their defects were not in the backbone's training. The benchmark measures every branch and fusion at several
temperatures, compared with random weights of the same model. It also measures the rates at the thresholds that k photos
give, and photos in tiles. Scores come from torch (trials.py).
"""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from goodparts.evaluation.datasets.folders import read_mvtec
from goodparts.evaluation.metrics.image import auroc
from goodparts.evaluation.report.report import Findings
from goodparts.runtime.core.preprocess import load_rgb
from goodparts.runtime.core.scoring import Floats, Fusion, memory_scores, score
from goodparts.runtime.core.view import View
from goodparts.runtime.recipe.calibrate import Calibration, calibrate_on
from goodparts.runtime.recipe.memory import coreset
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.clip.names import DEFAULT_NAME
from goodparts.trainer.clip.weights import randomise
from goodparts.trainer.embedded.model import HybridCLIP
from goodparts.trainer.promptad.settings import promptad_settings

from .products import MeasuredProduct, find_products, gather_sets
from .trials import DEFAULT, DRAWS, EncodedProducts, Trial, learn

log = logging.getLogger(__name__)

LINES = 5
POOL, GOOD, BAD = 28, 40, 16
"""The numbers of photos of a product: good ones to learn from, and good and defective ones for the test."""
SHOTS, SHOT_COUNTS = 4, (1, 2, 4, 8)
TEMPERATURES: dict[str, float | Literal["exp"]] = {"4.6": 4.6052, "100": 100.0, "own": "exp"}
"""The temperatures of the released code, of CLIP, and of the small backbone, which learned it in its training."""
FUSIONS: tuple[Fusion, ...] = ("memory", "prompt", "paper", "residual")
RATES = {"at 1%": 0.01, "at 10%": 0.1}
"""The false-reject rates that thresholds are set for, by their names in a row."""
SHARES = (0.5, 0.25, 0.1)
NEAR = 0.02
"""The fused AUROC should be at most this much below the AUROC of the better branch, and not below the mean of both."""
PROMPT_AIM = 0.8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, metavar="ROOT", help="a folder with real products, which are folders in MVTec's layout"
    )


def measure(*, data: Path | None) -> Findings:
    findings = Findings()
    trained = Backbone.open(DEFAULT_NAME)
    model = HybridCLIP()
    randomise(model, 0)
    size = trained.encoder.image_size
    sets = gather_sets(findings, data, size, lines=LINES, pool=POOL, good=GOOD, bad=BAD)
    for name, products in sets.items():
        log.info("%s: branches and fusions", name)
        compare_fusions(findings, name, products, trained, Backbone(DEFAULT_NAME, model))
    for name, products in sets.items():
        log.info("%s: shares of the memory", name)
        compare_shares(findings, name, products, trained)
    for name, products in sets.items():
        log.info("%s: rates", name)
        compare_rates(findings, name, products, trained)
    for folder in [] if data is None else find_products(data):
        log.info("%s: tiles", folder.name)
        compare_tiles(findings, folder, trained, Backbone(DEFAULT_NAME, model))
    return findings


def compare_fusions(
    findings: Findings, name: str, products: list[MeasuredProduct], trained: Backbone, untrained: Backbone
) -> None:
    """Add rows "<set>, <fusion>, t <temperature>: image | pixel AUROC", which are means over lines or draws.

    The peer has random weights.

    Args:
        findings: Gets the rows and the aims.
        name: The name of the set.
        products: The products of the set.
        trained: The backbone with its weights.
        untrained: The same model with random weights.
    """
    ours, peer = (mean_aurocs(products, backbone) for backbone in (trained, untrained))
    for label, values in ours.items():
        for level, value, peer_value in zip(("image", "pixel"), values, peer[label], strict=True):
            findings.add(f"{name}, {label}: {level}", value, "AUROC", "random weights", peer_value, higher=True)
    standard = next(label for label, value in TEMPERATURES.items() if value == DEFAULT.temperature)
    memory, prompt, fused = (
        ours[label] for label in ("memory", f"prompt, t {standard}", f"{DEFAULT.fusion}, t {standard}")
    )
    if name.startswith("drawn"):
        findings.aim(f"{name}, prompt: image AUROC", prompt[0], PROMPT_AIM, "", at_least=True)
    for index, level in enumerate(("image", "pixel")):
        bound = max((memory[index] + prompt[index]) / 2, max(memory[index], prompt[index]) - NEAR)
        findings.aim(f"{name}, fused: {level} AUROC", fused[index], bound, "", at_least=True)


def mean_aurocs(products: list[MeasuredProduct], backbone: Backbone) -> dict[str, Floats]:
    """Return the image and pixel AUROC of every fusion at every temperature, as means over the trials.

    Args:
        products: The products of a set.
        backbone: The backbone that encodes them.
    """
    encoded = EncodedProducts(products, backbone)
    aurocs: dict[str, list[tuple[float, float]]] = {}
    for title, temperature in TEMPERATURES.items():
        for trial, _ in encoded.trials(SHOTS, promptad_settings("clean", temperature=temperature)):
            for fusion in FUSIONS:
                label = "memory" if fusion == "memory" else f"{fusion}, t {title}"
                aurocs.setdefault(label, []).append(trial.aurocs(fusion))
    return {label: np.mean(values, axis=0) for label, values in aurocs.items()}


def compare_shares(findings: Findings, name: str, products: list[MeasuredProduct], backbone: Backbone) -> None:
    """Add rows "<set>, <share> of the memory: image AUROC" of the memory only. The peer is the whole memory.

    Args:
        findings: Gets the rows.
        name: The name of the set.
        products: The products of the set.
        backbone: The backbone that encodes them.
    """
    means = {}
    for share in (1.0, *SHARES):
        aurocs = []
        for product, tests in EncodedProducts(products, backbone).tests:
            shots = backbone.encode(product.pool[:SHOTS])
            banks = []
            for memory in shots.memory:
                rows = memory.reshape(-1, memory.shape[-1])
                banks.append(rows[coreset(rows, math.ceil(share * len(rows)), memory.shape[1])])
            scores = memory_scores(tests.memory, tuple(banks)).max(axis=1)
            aurocs.append(auroc(product.bad, scores))
        means[share] = float(np.mean(aurocs))
    for share in SHARES:
        findings.add(
            f"{name}, {share:.0%} of the memory: image", means[share], "AUROC", "all of it", means[1.0], higher=True
        )


def compare_rates(findings: Findings, name: str, products: list[MeasuredProduct], backbone: Backbone) -> None:
    """Add rows "<set>, k shots, at <rate>: good rejected | bad missed", which are means over lines or draws.

    For four shots, also add rows with a calibration on the other good photos.

    Args:
        findings: Gets the rows.
        name: The name of the set.
        products: The products of the set.
        backbone: The backbone that encodes them.
    """
    encoded = EncodedProducts(products, backbone)
    for shots in SHOT_COUNTS:
        own, further = Outcomes(), Outcomes()
        further_count = 0
        for trial, further_photos in encoded.trials(shots):
            own.add(trial, at_rates(trial.calibration))
            if shots == SHOTS and len(further_photos):
                further_count = len(further_photos)
                further.add(
                    trial, at_rates(calibrate_on(trial.learned, list(further_photos[:, None]), backbone.encode))
                )
        own.report(findings, f"{name}, {shots} shots")
        if shots == SHOTS:
            further.report(findings, f"{name}, {shots} shots and {further_count} further photos")


def compare_tiles(findings: Findings, folder: Path, trained: Backbone, untrained: Backbone) -> None:
    """Add rows "<set>, R×C tiles, memory | fused: image AUROC" for photos that are too long for one square.

    The peer has random weights.

    Args:
        findings: Gets the rows; none if the photos are nearly square.
        folder: A category in MVTec's layout.
        trained: The backbone with its weights.
        untrained: The same model with random weights.

    Raises:
        FileError: A photo or a folder of the layout is missing or cannot be read.
        ImageError: A photo is damaged, or a bad photo does not have exactly one mask.
    """
    split = read_mvtec(folder)
    height, width = load_rgb(split.train[0]).shape[:2]
    tiles = (max(1, round(height / width)), max(1, round(width / height)))
    if tiles == (1, 1):
        return
    view, size = View(tiles=tiles), trained.encoder.image_size
    pool, tests = (
        np.stack([view.cut(load_rgb(path), size) for path in paths])
        for paths in (split.train, [sample.path for sample in split.test])
    )
    bad = np.array([sample.bad for sample in split.test])
    means = []
    for backbone in (trained, untrained):
        features, aurocs = backbone.encode(np.concatenate(tests)), []
        for seed in range(min(DRAWS, len(pool) // SHOTS)):
            shots = np.concatenate(pool[seed * SHOTS : (seed + 1) * SHOTS])
            learned, _ = learn(backbone, split.text, shots, view.count, seed=seed)
            scores = score(features, learned)
            photo_scores = [
                tile_scores.reshape(-1, view.count).max(axis=1)
                for tile_scores in (scores.branches.image_memory, scores.image)
            ]
            aurocs.append([auroc(bad, scores_of_branch) for scores_of_branch in photo_scores])
        means.append(np.mean(aurocs, axis=0))
    for index, branch in enumerate(("memory", "fused")):
        name = f"{folder.name}, {tiles[0]}×{tiles[1]} tiles, {branch}: image"
        findings.add(name, means[0][index], "AUROC", "random weights", means[1][index], higher=True)


def at_rates(calibration: Calibration) -> dict[str, float]:
    """Return the image threshold for each of RATES, by its name in a row.

    Args:
        calibration: What good parts score.
    """
    return {name: calibration.image.threshold(rate) for name, rate in RATES.items()}


class Outcomes:
    """The shares of wrong verdicts on good and bad tests at several thresholds."""

    def __init__(self) -> None:
        self._rates: dict[str, list[tuple[float, float]]] = {}

    def add(self, trial: Trial, thresholds: Mapping[str, float]) -> None:
        """Judge a trial's tests by each threshold.

        Args:
            trial: The trial, whose tests are scored with the default fusion.
            thresholds: The image thresholds, by their names in a row.
        """
        scores, _ = trial.scores(DEFAULT.fusion)
        bad = trial.product.bad
        for name, threshold in thresholds.items():
            rejected = scores >= threshold
            self._rates.setdefault(name, []).append((float(rejected[~bad].mean()), float((~rejected[bad]).mean())))

    def report(self, findings: Findings, label: str) -> None:
        """Add the mean shares of good tests that are rejected and of bad tests that are missed.

        Args:
            findings: Gets two rows for each threshold. Where the threshold is set for a rate, that rate is the peer.
            label: The beginning of the rows' names.
        """
        for name, rates in self._rates.items():
            rejected, missed = np.mean(rates, axis=0)
            peer = ("asked for", RATES[name]) if name in RATES else ()
            findings.add(f"{label}, {name}: good rejected", rejected, "share", *peer)
            findings.add(f"{label}, {name}: bad missed", missed, "share")

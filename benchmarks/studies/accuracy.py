"""What the demo backbone tells apart, and whether thresholds keep their promise.

On drawn parts of kinds and with defects that its training never saw, and on real photos (--data: folders in
MVTec's layout): every branch and fusion at two temperatures, beside random weights of the same model; rates at the
thresholds that k photos give; photos as tiles. Scores come from torch, to which the export's gate ties every engine.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import open_clip
from goodparts.evaluation.datasets.folders import read_mvtec
from goodparts.evaluation.metrics.image import auroc
from goodparts.evaluation.report.report import Findings, Options
from goodparts.runtime.core.preprocess import Array8, load_rgb
from goodparts.runtime.core.scoring import (
    MAP_SIGMA,
    MAP_SIZE,
    Branches,
    Floats,
    Learned,
    Scales,
    anomaly_map,
    combine,
    memory_scores,
    score,
    score_branches,
)
from goodparts.runtime.core.view import View
from goodparts.runtime.recipe.calibrate import Calibration, calibrate_on
from goodparts.runtime.recipe.memory import Memory, coreset, fit_memory
from goodparts.runtime.recipe.simulate import place, score_painted
from goodparts.trainer.clip import embedded as clip
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.clip.weights import randomise
from goodparts.trainer.promptad.learner import PromptLearner
from goodparts.trainer.promptad.settings import PROTOCOLS, PromptADSettings, promptad_settings

from .products import Product, find_products, gather_sets

log = logging.getLogger(__name__)

LINES = 5
POOL, GOOD, BAD = 28, 40, 16
"""Of a line: photos to learn from, good and defective ones to test with."""
DRAWS = 4
"""Of a folder: at most so many disjoint draws of shots from its good photos."""
SHOTS, KS = 4, (1, 2, 4, 8)
TEMPERATURES: dict[str, float | Literal["exp"]] = {"4.6": 4.6052, "100": 100.0, "own": "exp"}
"""What the released code multiplies by, what CLIP does, and what the model learned in its training."""
FUSIONS = ("memory", "prompt", "paper", "balanced")
RATES = (0.01, 0.1)
ASKED = {f"at {rate:.0%}": rate for rate in RATES}
SHARES = (0.5, 0.25, 0.1)
NEAR = 0.02
"""Fused, AUROC should be this near to the better branch, and no worse than the mean of both."""
PROMPT_AIM = 0.8
MAP_SIDE = 96
"""Of the maps that pixel AUROC is taken over: every second pixel of the demo backbone's square."""

DEFAULT = PROTOCOLS["clean"]


def measure(options: Options) -> Findings:
    findings = Findings()
    trained = Backbone.open("demo")
    model = open_clip.CLIP(**clip.CONFIG)
    randomise(model, 0)
    size = trained.encoder.image_size
    sets = gather_sets(findings, options.data, size, lines=LINES, pool=POOL, good=GOOD, bad=BAD)
    for name, products in sets.items():
        log.info("%s: branches and fusions", name)
        compare_fusions(findings, name, products, trained, Backbone("demo", model))
    for name, products in sets.items():
        log.info("%s: shares of the memory", name)
        compare_shares(findings, name, products, trained)
    for name, products in sets.items():
        log.info("%s: rates", name)
        compare_rates(findings, name, products, trained)
    for folder in [] if options.data is None else find_products(options.data):
        log.info("%s: tiles", folder.name)
        compare_tiles(findings, folder, trained, Backbone("demo", model))
    return findings


@dataclass(frozen=True, eq=False)
class Trial:
    """A product learned from some shots, uint8 [k,S,S,3], and every test's branches, from which each fusion follows."""

    product: Product
    shots: Array8
    learned: Learned
    scales: Scales
    calibration: Calibration
    branches: Branches

    def scores(self, fusion: str) -> tuple[Floats, Floats]:
        """Image scores [N] and patch scores [N,h,w] of the tests; of a single branch, or fused."""
        if fusion in ("memory", "prompt"):
            return getattr(self.branches, f"image_{fusion}"), getattr(self.branches, f"grid_{fusion}")
        fused = combine(self.branches, self.scales if fusion == "balanced" else None)
        return fused.image, fused.grid

    def aurocs(self, fusion: str) -> tuple[float, float]:
        """Over images, and over the pixels of all maps."""
        image, grid = self.scores(fusion)
        maps = np.stack([anomaly_map(one, MAP_SIDE, MAP_SIGMA * MAP_SIDE / MAP_SIZE) for one in grid])
        step = self.product.masks.shape[1] // MAP_SIDE
        masks = self.product.masks[:, step // 2 :: step, step // 2 :: step]
        return auroc(self.product.bad, image), auroc(masks, maps)


class Bench:
    """Products of one kind beside a backbone; their tests are encoded once."""

    def __init__(self, products: list[Product], backbone: Backbone) -> None:
        self.backbone = backbone
        self.tests = [(product, backbone.encode(product.tests)) for product in products]

    def trials(self, shots: int, chosen: PromptADSettings = DEFAULT) -> Iterator[tuple[Trial, Array8]]:
        """Every product learned from disjoint sets of shots, and the good photos that were not among them.

        One set of each line; up to DRAWS where there is a single product.
        """
        for product, tests in self.tests:
            for seed in range(min(DRAWS if len(self.tests) == 1 else 1, len(product.pool) // shots)):
                used = slice(seed * shots, (seed + 1) * shots)
                learned, memory = learn(self.backbone, product.text, product.pool[used], 1, chosen, seed)
                branches = score_branches(tests, learned)
                trial = Trial(product, product.pool[used], learned, memory.scales, memory.calibration, branches)
                yield trial, np.delete(product.pool, used, axis=0)


def learn(
    backbone: Backbone, text: str, views: Array8, per_photo: int, chosen: PromptADSettings = DEFAULT, seed: int = 0
) -> tuple[Learned, Memory]:
    """Learn a product from its views."""
    features = backbone.encode(views)
    learner = PromptLearner(backbone, features, text, settings=chosen, seed=seed)
    prompts = learner.learn()
    learned = Learned(prompts.image, prompts.pixel, (), learner.temperature, chosen.image_maximum)
    memory = fit_memory(learned, features, views, per_photo, backbone.encode, fusion=chosen.fusion)
    banks = tuple(bank.astype(np.float32) for bank in memory.banks)
    scales = memory.scales if chosen.fusion == "balanced" else None
    return dataclasses.replace(learned, banks=banks, scales=scales, shot_of_row=memory.shot_of_row), memory


def compare_fusions(findings: Findings, name: str, products: list[Product], trained: Backbone, other: Backbone) -> None:
    """Rows "<set>, <fusion>, t <temperature>: image | pixel AUROC", means over lines or draws; the peer is random
    weights."""
    means = []
    for backbone in (trained, other):
        bench = Bench(products, backbone)
        cells: dict[str, list[tuple[float, float]]] = {}
        for name_of, temperature in TEMPERATURES.items():
            for trial, _ in bench.trials(SHOTS, promptad_settings("clean", temperature=temperature)):
                for fusion in FUSIONS:
                    label = "memory" if fusion == "memory" else f"{fusion}, t {name_of}"
                    cells.setdefault(label, []).append(trial.aurocs(fusion))
        means.append({cell: np.mean(values, axis=0) for cell, values in cells.items()})
    ours, theirs = means
    for label, values in ours.items():
        for level, value, peer in zip(("image", "pixel"), values, theirs[label], strict=True):
            findings.add(f"{name}, {label}: {level}", value, "AUROC", "random weights", peer, higher=True)
    standard = next(label for label, value in TEMPERATURES.items() if value == DEFAULT.temperature)
    memory, prompt, fused = (
        ours[label] for label in ("memory", f"prompt, t {standard}", f"{DEFAULT.fusion}, t {standard}")
    )
    if name.startswith("drawn"):
        findings.aim(f"{name}, prompt: image AUROC", prompt[0], PROMPT_AIM, "", at_least=True)
    for index, level in enumerate(("image", "pixel")):
        bound = max((memory[index] + prompt[index]) / 2, max(memory[index], prompt[index]) - NEAR)
        findings.aim(f"{name}, fused: {level} AUROC", fused[index], bound, "", at_least=True)


def compare_shares(findings: Findings, name: str, products: list[Product], backbone: Backbone) -> None:
    """Rows "<set>, <share> of the memory: image AUROC", of the memory alone, beside all of it."""
    means = {}
    for share in (1.0, *SHARES):
        found = []
        for product, tests in Bench(products, backbone).tests:
            shots = backbone.encode(product.pool[:SHOTS])
            banks = []
            for memory in shots.memory:
                rows = memory.reshape(-1, memory.shape[-1])
                banks.append(rows[coreset(rows, math.ceil(share * len(rows)), memory.shape[1])])
            scores = memory_scores(tests.memory, tuple(banks)).max(axis=1)
            found.append(auroc(product.bad, scores))
        means[share] = float(np.mean(found))
    for share in SHARES:
        findings.add(
            f"{name}, {share:.0%} of the memory: image", means[share], "AUROC", "all of it", means[1.0], higher=True
        )


def compare_rates(findings: Findings, name: str, products: list[Product], backbone: Backbone) -> None:
    """Rows "<set>, k shots, at <rate>: good rejected | bad missed", over all lines or draws.

    Where four are learned, also with a calibration on the rest of the good photos, and at the threshold between good
    and simulated bad parts.
    """
    bench = Bench(products, backbone)
    for shots in KS:
        own, further = Outcomes(), Outcomes()
        count = 0
        for trial, rest in bench.trials(shots):
            own.add(trial, at_rates(trial.calibration))
            if shots == SHOTS:
                painted, _ = score_painted(trial.learned, trial.shots, 1, backbone.encode)
                own.add(trial, {"simulated": place(trial.calibration.image, painted)})
            if shots == SHOTS and len(rest):
                count = len(rest)
                further.add(trial, at_rates(calibrate_on(trial.learned, list(rest[:, None]), backbone.encode)))
        own.report(findings, f"{name}, {shots} shots")
        if shots == SHOTS:
            further.report(findings, f"{name}, {shots} shots and {count} further photos")


def compare_tiles(findings: Findings, folder: Path, trained: Backbone, other: Backbone) -> None:
    """Rows "<set>, R×C tiles, memory | fused: image AUROC" of photos too long for a square; peer: random weights."""
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
    for backbone in (trained, other):
        features, found = backbone.encode(np.concatenate(tests)), []
        for seed in range(min(DRAWS, len(pool) // SHOTS)):
            shots = np.concatenate(pool[seed * SHOTS : (seed + 1) * SHOTS])
            learned, _ = learn(backbone, split.text, shots, view.count, seed=seed)
            scores = score(features, learned)
            of_photos = [
                one.reshape(-1, view.count).max(axis=1) for one in (scores.branches.image_memory, scores.image)
            ]
            found.append([auroc(bad, one) for one in of_photos])
        means.append(np.mean(found, axis=0))
    for index, what in enumerate(("memory", "fused")):
        name = f"{folder.name}, {tiles[0]}×{tiles[1]} tiles, {what}: image"
        findings.add(name, means[0][index], "AUROC", "random weights", means[1][index], higher=True)


def at_rates(calibration: Calibration) -> dict[str, float]:
    """The image thresholds for RATES, by what they are called in a row."""
    return {name: calibration.image.threshold(rate) for name, rate in ASKED.items()}


class Outcomes:
    """Verdicts on good and bad tests at several thresholds."""

    def __init__(self) -> None:
        self._found: dict[str, list[tuple[float, float]]] = {}

    def add(self, trial: Trial, thresholds: Mapping[str, float]) -> None:
        scores, _ = trial.scores(DEFAULT.fusion)
        bad = trial.product.bad
        for name, threshold in thresholds.items():
            rejected = scores >= threshold
            self._found.setdefault(name, []).append((float(rejected[~bad].mean()), float((~rejected[bad]).mean())))

    def report(self, findings: Findings, label: str) -> None:
        for name, found in self._found.items():
            rejected, missed = np.mean(found, axis=0)
            peer = ("asked for", ASKED[name]) if name in ASKED else ()
            findings.add(f"{label}, {name}: good rejected", rejected, "share", *peer)
            findings.add(f"{label}, {name}: bad missed", missed, "share")

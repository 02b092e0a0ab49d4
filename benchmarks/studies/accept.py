"""Accepting photos on the line: what it costs, what it does to verdicts, and which rows a bounded memory should keep.

Costs are of synthetic products: memory, calibration and the file's bytes, all but the encoder's pass over each photo;
in processor time, so that other work on the machine does not count: the wall's is that or less.
Verdicts are of drawn parts of kinds that the demo backbone was not trained on: of a line of good parts those that the
recipe rejects are accepted one after the other, as an operator would. Which rows to keep is asked of a memory that
accepted the whole line, with room for ROOM photos' rows: the most novel ones, beside k-center and chance.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from goodparts.drawn.parts import HELD_OUT_KINDS
from goodparts.evaluation.metrics.image import auroc
from goodparts.evaluation.report.report import Findings, Options
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.core.scoring import Features, Floats, memory_scores, score
from goodparts.runtime.core.view import View
from goodparts.runtime.recipe.accept import PHOTOS_MORE
from goodparts.runtime.recipe.header import Shot
from goodparts.runtime.recipe.memory import Halves
from goodparts.runtime.recipe.recipe import Recipe
from goodparts.runtime.recipe.refit import most_novel, remember
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.method import learn_recipe
from goodparts.trainer.product import Product, RunOptions
from goodparts.trainer.promptad.method import PromptAD
from goodparts.trainer.promptad.suffixes import GENERIC
from goodparts.trainer.shots import Shots

from ..synthetic import describe_encoder, make_features, make_recipe, make_views
from .products import Product as Parts
from .products import draw_product

log = logging.getLogger(__name__)

REPEAT = 5
SHOTS = 4
ACCEPTED = (1, 4, PHOTOS_MORE)
AIM = 1000.0  # milliseconds
LINES, FIRST_LINE = 2, 3000
STREAM, GOOD, BAD = 24, 40, 16
"""Of a line: good photos that may be accepted; good and defective ones to test with."""
RATE = 0.1
"""Of false rejects: at lower ones there are few to accept."""
METHOD = PromptAD.configure("clean", {})
ROOM = 4
UNBOUNDED = 1 << 30

Choose = Callable[[Halves, list[Halves], int], Floats]
"""Learned rows, the rows of each accepted photo, how many are kept → those."""


def measure(options: Options) -> Findings:
    findings = Findings()
    for name in ("demo", options.backbone):
        time_update(findings, name, options.repeat or REPEAT)
    demo = Backbone.open("demo")
    for kind in HELD_OUT_KINDS:
        log.info("drawn %s", kind)
        lines = [LineOfParts(kind, FIRST_LINE + index, demo) for index in range(LINES)]
        compare_verdicts(findings, kind, lines)
        compare_rows(findings, kind, lines)
    return findings


def time_update(findings: Findings, name: str, repeat: int) -> None:
    """Rows "<backbone>, N accepted: update", in milliseconds of processor time."""
    encoder = describe_encoder(name)
    recipe = make_recipe(encoder, "0" * 64, SHOTS)
    features = [make_features(encoder, seed) for seed in range(SHOTS + max(ACCEPTED))]
    for count in ACCEPTED:
        views, spans = make_views(encoder, count), []
        for _ in range(repeat):
            encode = Replay(features)
            start = time.process_time()
            remember(recipe, [1] * count, UNBOUNDED, name_shots(count), views, encode).to_bytes()
            spans.append((time.process_time() - start) * 1e3)
        findings.add(f"{name}, {SHOTS} shots and {count} accepted: update", float(np.median(spans)), "ms")
        findings.aim(f"{name}, {count} accepted: update", float(np.median(spans)), AIM, "ms")


class Replay:
    """An encoder that takes no time."""

    def __init__(self, features: Sequence[Features]) -> None:
        self._features = iter(features)

    def __call__(self, _: Array8) -> Features:
        return next(self._features)


def name_shots(count: int) -> list[Shot]:
    return [Shot(f"{index}.png", f"{index:064x}") for index in range(count)]


class LineOfParts:
    """A product learned from SHOTS photos, the photos that follow, and the tests' features."""

    def __init__(self, kind: str, seed: int, backbone: Backbone) -> None:
        size = backbone.encoder.image_size
        self._backbone, self._known = backbone, dict[bytes, Features]()
        self.product: Parts = draw_product(kind, seed, size, pool=SHOTS + STREAM, good=GOOD, bad=BAD)
        shots = Shots(name_shots(SHOTS), {size: self.product.pool[:SHOTS]})
        product = Product(kind, GENERIC, View(), shots)
        self.recipe = learn_recipe(METHOD, backbone, product, "0" * 64, RunOptions(false_reject_rate=RATE))
        self.stream = list(self.product.pool[SHOTS:, None])
        self.tests = [self.encode(view) for view in self.product.tests[:, None]]

    def encode(self, view: Array8) -> Features:
        """Each photo once."""
        data = view.tobytes()
        if data not in self._known:
            self._known[data] = self._backbone.encode(view)
        return self._known[data]

    def accept_rejects(self, threshold: float | None) -> tuple[Recipe, int]:
        """The recipe after the stream, and how many of it were accepted; at the recipe's own threshold, or a fixed
        one."""
        recipe, accepted = self.recipe, []
        for view in self.stream:
            limit = recipe.header.thresholds.image if threshold is None else threshold
            if score(self.encode(view), recipe.learned()).image.max() >= limit:
                accepted.append(view)
                count = len(accepted)
                views = np.concatenate(accepted)
                recipe = remember(self.recipe, [1] * count, UNBOUNDED, name_shots(count), views, self.encode)
        return recipe, len(accepted)

    def rates(self, recipe: Recipe, threshold: float) -> tuple[float, float]:
        """Good tests rejected, bad ones missed."""
        learned, bad = recipe.learned(), self.product.bad
        rejected = np.array([score(features, learned).image.max() >= threshold for features in self.tests])
        return float(rejected[~bad].mean()), float((~rejected[bad]).mean())


def compare_verdicts(findings: Findings, kind: str, lines: Sequence[LineOfParts]) -> None:
    """Rows "drawn <kind>, thresholds <which>: good rejected | bad missed", means over lines; peer: before accepting."""
    before = np.mean([line.rates(line.recipe, line.recipe.header.thresholds.image) for line in lines], axis=0)
    for which in ("recalibrated", "kept"):
        found, counts = [], []
        for line in lines:
            kept = line.recipe.header.thresholds.image if which == "kept" else None
            recipe, count = line.accept_rejects(kept)
            found.append(line.rates(recipe, kept or recipe.header.thresholds.image))
            counts.append(count)
        findings.add(f"drawn {kind}, thresholds {which}: accepted of {STREAM}", float(np.mean(counts)), "photos")
        for index, what in enumerate(("good rejected", "bad missed")):
            name = f"drawn {kind}, thresholds {which}: {what}"
            findings.add(name, float(np.mean(found, axis=0)[index]), "share", "before accepting", before[index])


def compare_rows(findings: Findings, kind: str, lines: Sequence[LineOfParts]) -> None:
    """Rows "drawn <kind>, <which> rows: image AUROC" of the memory alone; peer: all rows."""
    means = {name: float(np.mean([memory_auroc(line, choose) for line in lines])) for name, choose in CHOICES.items()}
    for name, value in means.items():
        if name != ALL:
            findings.add(f"drawn {kind}, {name}: image", value, "AUROC", ALL, means[ALL], higher=True)


def memory_auroc(line: LineOfParts, choose: Choose) -> float:
    banks = []
    for number, bank in enumerate(line.recipe.banks):
        photos = [
            line.encode(view).memory[number].reshape(-1, bank.shape[1]).astype(np.float16) for view in line.stream
        ]
        banks.append(np.concatenate([bank.astype(np.float32), choose(bank, photos, ROOM * len(photos[0]))]))
    scores = [memory_scores(features.memory, tuple(banks)).max() for features in line.tests]
    return auroc(line.product.bad, np.array(scores, np.float32))


def _novel(known: Halves, photos: list[Halves], keep: int) -> Floats:
    kept = most_novel(known, photos, keep)
    return np.concatenate([rows[index] for rows, index in zip(photos, kept, strict=True)]).astype(np.float32)


def _k_center(known: Halves, photos: list[Halves], keep: int) -> Floats:
    """Farthest first, from the known rows on."""
    rows = np.concatenate(photos).astype(np.float32)
    similarity: npt.NDArray[np.float32] = (rows @ known.astype(np.float32).T).max(axis=1)
    chosen = []
    for _ in range(keep):
        chosen.append(int(similarity.argmin()))
        np.maximum(similarity, rows @ rows[chosen[-1]], out=similarity)
    return rows[chosen]


def _chance(_: Halves, photos: list[Halves], keep: int) -> Floats:
    rows = np.concatenate(photos).astype(np.float32)
    return rows[np.random.default_rng(0).choice(len(rows), keep, replace=False)]


def _newest(_: Halves, photos: list[Halves], keep: int) -> Floats:
    return np.concatenate(photos)[-keep:].astype(np.float32)


ALL = f"all rows of {STREAM} photos"
CHOICES: dict[str, Choose] = {
    ALL: lambda _, photos, __: np.concatenate(photos).astype(np.float32),
    f"most novel {ROOM} photos' rows": _novel,
    "as many by k-center": _k_center,
    "as many by chance": _chance,
    "the newest": _newest,
    "none": lambda known, *_: known[:0].astype(np.float32),
}

"""Accepting photos on the line: its cost, its effect on verdicts, and which rows a bounded memory should keep.

The cost is measured on synthetic products. It covers the memory, the calibration and the bytes of the file, but not the
encoding of the photos. The cost is processor time, so that other work on the machine does not count. On an idle machine
the elapsed time is not longer. Verdicts are measured on drawn parts of kinds that the small backbone was not trained
on. Good parts come one after another, and those that the recipe rejects are accepted, as an operator would do.

To choose which rows to keep, a memory accepts the whole line but has room for the rows of only ROOM photos. The most
novel rows are compared with k-center and with a random choice.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from goodparts.drawn.parts import HELD_OUT_KINDS
from goodparts.evaluation.metrics.image import auroc
from goodparts.evaluation.report.report import Findings
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.core.scoring import Features, Floats, memory_scores, score
from goodparts.runtime.core.view import View
from goodparts.runtime.recipe.accept import PHOTOS_MORE
from goodparts.runtime.recipe.header import Shot
from goodparts.runtime.recipe.memory import Halves
from goodparts.runtime.recipe.product import Product
from goodparts.runtime.recipe.recipe import Recipe
from goodparts.runtime.recipe.refit import most_novel, remember
from goodparts.runtime.recipe.shots import Shots
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.clip.names import DEFAULT_NAME
from goodparts.trainer.method import learn_recipe
from goodparts.trainer.promptad.method import PromptAD
from goodparts.trainer.promptad.suffixes import GENERIC
from goodparts.trainer.settings import RunOptions

from .. import options
from ..backbones import describe_encoder
from ..synthetic import make_features, make_recipe, make_views
from .products import MeasuredProduct, draw_product

log = logging.getLogger(__name__)

METHOD = PromptAD.configure("clean", {})

REPEAT = 5
SHOTS = 4
ACCEPTED = (1, 4, PHOTOS_MORE)
AIM = 1000.0  # milliseconds
LINES, FIRST_LINE = 2, 3000
STREAM, GOOD, BAD = 24, 40, 16
"""The numbers of photos of a product: good ones that may be accepted, and good and defective ones for the test."""
RATE = 0.1
"""The false-reject rate. At a lower rate there would be few photos to accept."""
ROOM = 4
UNBOUNDED = 1 << 30

SelectRows = Callable[[Halves, list[Halves], int], Floats]
"""A function that takes the learned rows, the rows of each accepted photo and the number of rows to keep, and returns
the rows to keep."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_backbone(parser)
    options.add_repeat(parser, REPEAT)


def measure(*, backbone: str, repeat: int) -> Findings:
    findings = Findings()
    for name in dict.fromkeys((DEFAULT_NAME, backbone)):
        time_update(findings, name, repeat)
    small = Backbone.open(DEFAULT_NAME)
    for kind in HELD_OUT_KINDS:
        log.info("drawn %s", kind)
        lines = [LineOfParts(kind, FIRST_LINE + index, small) for index in range(LINES)]
        compare_verdicts(findings, kind, lines)
        compare_rows(findings, kind, lines)
    return findings


def time_update(findings: Findings, name: str, repeat: int) -> None:
    """Add rows "<backbone>, N accepted: update", in milliseconds of processor time.

    Args:
        findings: Gets the rows and the aims.
        name: `small`, or an open_clip ViT or ResNet.
        repeat: The number of timed updates, of which the median counts.

    Raises:
        BackboneError: The name is neither `small` nor a ViT or a ResNet of open_clip.
    """
    encoder = describe_encoder(name)
    recipe = make_recipe(encoder, "0" * 64, SHOTS)
    features = [make_features(encoder, seed) for seed in range(SHOTS + max(ACCEPTED))]
    for count in ACCEPTED:
        views, spans = make_views(encoder, count), []
        for _ in range(repeat):
            encode = ReplayedEncoder(features)
            start = time.process_time()
            remember(recipe, [1] * count, UNBOUNDED, name_shots(count), views, encode).to_bytes()
            spans.append((time.process_time() - start) * 1e3)
        findings.add(f"{name}, {SHOTS} shots and {count} accepted: update", float(np.median(spans)), "ms")
        findings.aim(f"{name}, {count} accepted: update", float(np.median(spans)), AIM, "ms")


class ReplayedEncoder:
    """An encoder that returns given features one after the other and takes no time.

    Args:
        features: The features of each call, in order.
    """

    def __init__(self, features: Sequence[Features]) -> None:
        self._features = iter(features)

    def __call__(self, _: Array8) -> Features:
        return next(self._features)


def name_shots(count: int) -> list[Shot]:
    """Make names and digests of photos.

    Args:
        count: The number of photos.

    Returns:
        A different name and digest for each.
    """
    return [Shot(f"{index}.png", f"{index:064x}") for index in range(count)]


class LineOfParts:
    """A product learned from SHOTS photos, with the photos that follow on the line and the features of the tests.

    Attributes:
        product: The drawn product.
        recipe: The recipe before photos are accepted.
        stream: The good photos that follow on the line, uint8 RGB [1,S,S,3] each.
        tests: The features of each test photo.

    Args:
        kind: A kind of drawn part.
        seed: The seed of the product.
        backbone: The backbone that encodes all photos.
    """

    def __init__(self, kind: str, seed: int, backbone: Backbone) -> None:
        size = backbone.encoder.image_size
        self._backbone, self._cache = backbone, dict[bytes, Features]()
        self.product: MeasuredProduct = draw_product(kind, seed, size, pool=SHOTS + STREAM, good=GOOD, bad=BAD)
        shots = Shots(name_shots(SHOTS), {size: self.product.pool[:SHOTS]})
        product, options = Product(kind, GENERIC, View(), shots), RunOptions(false_reject_rate=RATE)
        self.recipe = learn_recipe(METHOD, backbone, product, "0" * 64, options)
        self.stream = list(self.product.pool[SHOTS:, None])
        self.tests = [self.encode(view) for view in self.product.tests[:, None]]

    def encode(self, view: Array8) -> Features:
        """Encode a photo's view. Each photo is encoded only once.

        Args:
            view: The view, uint8 RGB [1,S,S,3].

        Returns:
            The features of the view.
        """
        data = view.tobytes()
        if data not in self._cache:
            self._cache[data] = self._backbone.encode(view)
        return self._cache[data]

    def accept_rejects(self, threshold: float | None) -> tuple[Recipe, int]:
        """Accept the rejected photos of the stream, one after another.

        Args:
            threshold: The image score from which photos are rejected; None for the recipe's own threshold, which
                changes.

        Returns:
            The recipe afterwards, and the number of accepted photos.
        """
        recipe, accepted = self.recipe, []
        for view in self.stream:
            least = recipe.header.thresholds.image if threshold is None else threshold
            if score(self.encode(view), recipe.learned()).image.max() >= least:
                accepted.append(view)
                count = len(accepted)
                views = np.concatenate(accepted)
                recipe = remember(self.recipe, [1] * count, UNBOUNDED, name_shots(count), views, self.encode)
        return recipe, len(accepted)

    def rates(self, recipe: Recipe, threshold: float) -> tuple[float, float]:
        """Return the share of good tests that are rejected, and the share of bad tests that are missed.

        Args:
            recipe: The recipe that scores the tests.
            threshold: The image score from which tests are rejected.
        """
        learned, bad = recipe.learned(), self.product.bad
        rejected = np.array([score(features, learned).image.max() >= threshold for features in self.tests])
        return float(rejected[~bad].mean()), float((~rejected[bad]).mean())


def compare_verdicts(findings: Findings, kind: str, lines: Sequence[LineOfParts]) -> None:
    """Add rows "drawn <kind>, thresholds <policy>: good rejected | bad missed", which are means over the lines.

    The peer is the recipe before photos are accepted.

    Args:
        findings: Gets the rows.
        kind: The kind of drawn part.
        lines: The lines of parts of this kind.
    """
    before = np.mean([line.rates(line.recipe, line.recipe.header.thresholds.image) for line in lines], axis=0)
    for policy in ("recalibrated", "kept"):
        rates, counts = [], []
        for line in lines:
            kept = line.recipe.header.thresholds.image if policy == "kept" else None
            recipe, count = line.accept_rejects(kept)
            rates.append(line.rates(recipe, kept or recipe.header.thresholds.image))
            counts.append(count)
        findings.add(f"drawn {kind}, thresholds {policy}: accepted of {STREAM}", float(np.mean(counts)), "photos")
        for index, outcome in enumerate(("good rejected", "bad missed")):
            name = f"drawn {kind}, thresholds {policy}: {outcome}"
            findings.add(name, float(np.mean(rates, axis=0)[index]), "share", "before accepting", before[index])


def compare_rows(findings: Findings, kind: str, lines: Sequence[LineOfParts]) -> None:
    """Add rows "drawn <kind>, <selection> rows: image AUROC" of the memory only. The peer is the memory of all rows.

    Args:
        findings: Gets the rows.
        kind: The kind of drawn part.
        lines: The lines of parts of this kind.
    """
    means = {
        name: float(np.mean([memory_auroc(line, select) for line in lines])) for name, select in SELECTIONS.items()
    }
    for name, value in means.items():
        if name != ALL:
            findings.add(f"drawn {kind}, {name}: image", value, "AUROC", ALL, means[ALL], higher=True)


def memory_auroc(line: LineOfParts, select: SelectRows) -> float:
    """Return the image AUROC of the memory only, with those rows of the stream that are kept.

    Args:
        line: The line of parts, all of whose stream is accepted.
        select: Selects the rows to keep, as many as ROOM photos have.
    """
    banks = []
    for number, bank in enumerate(line.recipe.banks):
        photos = [
            line.encode(view).memory[number].reshape(-1, bank.shape[1]).astype(np.float16) for view in line.stream
        ]
        banks.append(np.concatenate([bank.astype(np.float32), select(bank, photos, ROOM * len(photos[0]))]))
    scores = [memory_scores(features.memory, tuple(banks)).max() for features in line.tests]
    return auroc(line.product.bad, np.array(scores, np.float32))


def _most_novel(known: Halves, photos: list[Halves], keep: int) -> Floats:
    indices = most_novel(known, photos, keep)
    return np.concatenate([rows[kept] for rows, kept in zip(photos, indices, strict=True)]).astype(np.float32)


def _k_center(known: Halves, photos: list[Halves], keep: int) -> Floats:
    """Select rows one by one: always the row farthest from the known and the selected rows."""
    rows = np.concatenate(photos).astype(np.float32)
    similarity: npt.NDArray[np.float32] = (rows @ known.astype(np.float32).T).max(axis=1)
    selected = []
    for _ in range(keep):
        farthest = int(similarity.argmin())
        selected.append(farthest)
        np.maximum(similarity, rows @ rows[farthest], out=similarity)
    return rows[selected]


def _random(_: Halves, photos: list[Halves], keep: int) -> Floats:
    rows = np.concatenate(photos).astype(np.float32)
    return rows[np.random.default_rng(0).choice(len(rows), keep, replace=False)]


def _newest(_: Halves, photos: list[Halves], keep: int) -> Floats:
    return np.concatenate(photos)[-keep:].astype(np.float32)


ALL = f"all rows of {STREAM} photos"
SELECTIONS: dict[str, SelectRows] = {
    ALL: lambda _, photos, __: np.concatenate(photos).astype(np.float32),
    f"most novel {ROOM} photos' rows": _most_novel,
    "as many by k-center": _k_center,
    "as many by chance": _random,
    "the newest": _newest,
    "none": lambda known, *_: known[:0].astype(np.float32),
}

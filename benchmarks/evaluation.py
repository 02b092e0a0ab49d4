"""The run: every method on every category, for every number of shots and every seed, on every backend."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from goodparts.runtime.calibrate import Encode
from goodparts.runtime.engine import Encoder
from goodparts.runtime.errors import SettingsError
from goodparts.runtime.files import printable
from goodparts.runtime.preprocess import Array8
from goodparts.runtime.recipe import Shot
from goodparts.runtime.scoring import MAP_SIZE, Floats, anomaly_map
from goodparts.trainer.backbone import Backbone

from .datasets import DataSet, Sample, Shots, Split, Truth, check_split, choose_shots, load_truth
from .encoded import AT_ONCE, Encoded, Photos
from .methods import METHODS, Lesson, Product
from .metrics import Flags, Measured, measure_images
from .patch_statistics import Score
from .pixel_metrics import PixelTally

log = logging.getLogger(__name__)

TORCH = "torch"
MISTAKES = 12
"""Of a category and method, so many are shown."""


@dataclass(frozen=True)
class Backend:
    """Something that encodes: an engine's session, or torch. name: what runs."""

    name: str
    encode: Encode


@dataclass(frozen=True)
class Plan:
    """What is measured. backends: the deployed one first, torch last where it is measured. oracle: also the step
    that is best on the test data."""

    data: DataSet
    categories: tuple[str, ...]
    shots: tuple[int, ...]
    seeds: int
    methods: tuple[str, ...]
    encoder: Encoder
    backends: tuple[Backend, ...]
    backbone: Callable[[], Backbone]
    oracle: bool = False


class Cell(msgspec.Struct, frozen=True):
    """One measurement. shots: 0 where nothing was learned from photos; values: metrics by name, NaN where `missing`
    says why; threshold: image score from which the method rejects; manifest: SHA-256 of the shots' list; difference:
    of torch, the largest of an image score from the deployed one's."""

    category: str
    method: str
    shots: int
    seed: int
    backend: str
    values: dict[str, float]
    missing: dict[str, str]
    threshold: float | None
    manifest: str
    difference: float | None = None


class Manifest(msgspec.Struct, frozen=True):
    """The photos that were learned from."""

    category: str
    shots: int
    seed: int
    sha256: str
    photos: tuple[Shot, ...]


@dataclass(frozen=True, eq=False)
class Mistake:
    """A photo on the wrong side: a good one that scores as high as bad ones, or the other way round.

    size: the share of the other kind that it is wrong beside, above 0 and up to 1; view uint8 [S,S,3], grid [h,w].
    """

    sample: Sample
    score: float
    size: float
    view: Array8
    grid: Floats


@dataclass(frozen=True, eq=False)
class Shown:
    """A cell's image scores [N] and which are bad [N], and its worst mistakes."""

    cell: Cell
    scores: Floats
    bad: Flags
    mistakes: tuple[Mistake, ...]


@dataclass
class Evaluation:
    """Everything that was found."""

    cells: list[Cell] = field(default_factory=list)
    manifests: list[Manifest] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def remark(self, text: str) -> None:
        """Say something once."""
        if text not in self.remarks:
            self.remarks.append(text)
            log.info("%s", text)


def evaluate(plan: Plan) -> Evaluation:
    """Measure all of the plan. What cannot be done (too few photos, no list of defects) is remarked; SettingsError
    where nothing can."""
    found = Evaluation()
    for category in plan.categories:
        split = plan.data.split(category)
        for line in check_split(split):
            found.remark(line)
        photos = Photos(plan.encoder.image_size)
        wanted = [*plan.backends]
        if wanted[-1].name != TORCH:
            wanted.append(Backend(TORCH, lambda views: plan.backbone().encode(views)))
        backends = [Encoded(backend.name, backend.encode, plan.encoder, photos) for backend in wanted]
        try:
            _Category(plan, split, photos, backends, found).measure()
        finally:
            photos.close()
            for encoded in backends:
                encoded.close()
    if not found.cells:
        raise SettingsError(f"nothing could be measured: {'; '.join(found.remarks) or 'no method and no shots'}")
    return found


class _Category:
    def __init__(self, plan: Plan, split: Split, photos: Photos, backends: list[Encoded], found: Evaluation) -> None:
        """backends: the last is torch, which prompts are learned through; it is measured where the plan has it."""
        self._plan, self._split, self._photos, self._found = plan, split, photos, found
        self._name = printable(Path(split.category))
        self._backends, self._torch = backends[: len(plan.backends)], backends[-1]
        self._truths: dict[Sample, Truth] = {}
        if unmarked := sum(not sample.marked for sample in split.test):
            found.remark(f"{self._name}: {unmarked} bad photos have no mask; pixel metrics are of the others")

    def measure(self) -> None:
        plan, split = self._plan, self._split
        learning = [name for name in plan.methods if METHODS[name].shots]
        untaught = [name for name in plan.methods if not METHODS[name].shots]
        if untaught:
            log.info("%s: no shots", self._name)
            self._compare(untaught, None, 0, shown=True)
        draws = []
        for seed in range(plan.seeds if learning else 0):
            for count in plan.shots:
                try:
                    draws.append((choose_shots(split.train, count, seed), count, seed))
                except SettingsError as error:
                    self._found.remark(f"{self._name}: left out: {error}")
        largest = max((count for _, count, _ in draws), default=0)
        for drawn, count, seed in draws:
            log.info("%s: %d shots, seed %d", self._name, count, seed)
            self._found.manifests.append(Manifest(self._name, count, seed, drawn.digest, drawn.manifest))
            self._compare(learning, drawn, seed, shown=count == largest and seed == 0)

    def _compare(self, methods: Sequence[str], drawn: Shots | None, seed: int, shown: bool) -> None:
        """All methods on all backends for one draw."""
        split, paths = self._split, () if drawn is None else drawn.paths
        tests = split.tests(paths)
        if not tests:
            self._found.remark(f"{self._name}: left out: {len(paths)} shots leave no photo to test with")
            return
        views = self._photos.views(paths) if paths else np.empty((0, *[self._plan.encoder.image_size] * 2, 3), np.uint8)
        product = Product(
            self._plan.backbone,
            partial(self._torch.features, paths),
            split.text,
            split.category,
            seed,
            self._plan.oracle,
        )
        deployed: dict[str, Floats] = {}
        for encoded in self._backends:
            learned_from = encoded.features(paths or [tests[0].path])
            lesson = Lesson(learned_from, views, encoded.encode, product, deployed=encoded.name != TORCH)
            for name in methods:
                try:
                    judge = METHODS[name].learn(lesson)
                except SettingsError as error:
                    self._found.remark(f"{self._name}, {name}: left out: {error}")
                    continue
                measured, scores, grids = self._judge(judge.score, encoded, tests)
                if self._plan.oracle:
                    measured |= self._best_step(name, lesson, encoded, tests)
                first = deployed.setdefault(name, scores)
                cell = Cell(
                    self._name, name, len(paths), seed, encoded.name, measured.values, measured.missing,
                    judge.threshold, drawn.digest if drawn else "",
                    None if first is scores else float(np.abs(first - scores).max()),
                )  # fmt: skip
                self._found.cells.append(cell)
                if shown and encoded is self._backends[0]:
                    self._found.shown.append(self._show(cell, tests, scores, grids))

    def _judge(self, score: Score, encoded: Encoded, tests: Sequence[Sample]) -> tuple[Measured, Floats, Floats]:
        """Metrics, image scores [N] and patch scores [N,h,w] of the tests."""
        scores, grids = [], []
        with PixelTally() as tally:
            for start in range(0, len(tests), AT_ONCE):
                some = tests[start : start + AT_ONCE]
                image, grid = score(encoded.features([sample.path for sample in some]))
                scores.append(image)
                grids.append(grid)
                for sample, one in zip(some, grid, strict=True):
                    if sample.marked:
                        truth = self._truth(sample)
                        tally.add(anomaly_map(one), truth.mask, truth.defects)
            pixels = tally.measure()
        image = np.concatenate(scores)
        return measure_images(_bad(tests), image) | pixels, image, np.concatenate(grids)

    def _truth(self, sample: Sample) -> Truth:
        if not sample.bad:
            return Truth(_NOTHING, () if self._split.saturations else None)
        if sample not in self._truths:
            self._truths[sample] = load_truth(sample, self._split.saturations).resized(MAP_SIZE, MAP_SIZE)
        return self._truths[sample]

    def _best_step(self, name: str, lesson: Lesson, encoded: Encoded, tests: Sequence[Sample]) -> Measured:
        """AUROCs of the best step on the test data: what a choice by the test data would claim."""
        prompts = METHODS[name].prompts
        after = lesson.product.traces.get(prompts or "", [])
        best: dict[str, float] = {}
        for prototypes in after:
            then = dataclasses.replace(lesson, product=lesson.product.as_of(prompts or "", prototypes))
            measured, _, _ = self._judge(METHODS[name].learn(then).score, encoded, tests)
            for metric in ("image_auroc", "pixel_auroc"):
                best[f"oracle_{metric}"] = max(best.get(f"oracle_{metric}", 0.0), measured.values[metric])
        return Measured(best)

    def _show(self, cell: Cell, tests: Sequence[Sample], scores: Floats, grids: Floats) -> Shown:
        bad = _bad(tests)
        sizes = mistake_sizes(bad, scores)
        worst = [number for number in np.argsort(-sizes, kind="stable")[:MISTAKES] if sizes[number] > 0]
        mistakes = tuple(self._mistake(tests[number], scores[number], sizes[number], grids[number]) for number in worst)
        return Shown(cell, scores, bad, mistakes)

    def _mistake(self, sample: Sample, score: float, size: float, grid: Floats) -> Mistake:
        return Mistake(sample, float(score), float(size), self._photos.views([sample.path])[0], grid)


_NOTHING = np.zeros((MAP_SIZE, MAP_SIZE), np.bool_)


def _bad(tests: Sequence[Sample]) -> Flags:
    return np.array([sample.bad for sample in tests], np.bool_)


def mistake_sizes(bad: Flags, scores: Floats) -> Floats:
    """How wrong each of the tests [N] is: for a good one the share of bad ones that score no higher, for a bad one the
    share of good ones that score no lower; 0 where there is nothing of the other kind."""
    sizes = np.zeros(len(scores), np.float32)
    for kind, above in ((True, np.less_equal), (False, np.greater_equal)):
        others = scores[bad == kind]
        if len(others):
            mine = bad != kind
            sizes[mine] = above(others[None, :], scores[mine][:, None]).mean(axis=1)
    return sizes

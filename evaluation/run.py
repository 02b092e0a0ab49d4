"""The run: every method on a category, for every number of shots and every seed, on every backend."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.files import printable
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.core.scoring import MAP_SIZE, Features, Floats, anomaly_map
from goodparts.runtime.engine.spec import Encoder
from goodparts.runtime.recipe.calibrate import Encode
from goodparts.trainer.clip.backbone import Backbone

from .cache import Cell, Cells, Finished, Key, Manifest, code_digest, find_worst
from .datasets import DataSet, Sample, Shots, Split, Truth, check_split, choose_shots, load_truth
from .encoded_photos import AT_ONCE, Encoded, Photos
from .methods.method import Judge, Lesson, Method, Own, Product
from .methods.official import OfficialPhotos, official_truth, read_shots
from .methods.table import METHODS
from .metrics.image import Flags, Measured, measure_images
from .metrics.pixel import PixelTally

log = logging.getLogger(__name__)

TORCH = "torch"


@dataclass(frozen=True)
class PromptedGraph:
    """An engine's second graph, whose inputs are views and what a product learned. conditions: name → shape of that."""

    encode: Callable[..., Features]
    graph: str
    conditions: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Backend:
    """Something that encodes: an engine's session, or torch. name: what runs; graph: identifies what it runs."""

    name: str
    encode: Encode
    graph: str
    precision: str
    prompted: PromptedGraph | None = None


@dataclass(frozen=True)
class Plan:
    """What is measured of every category. backends: the deployed one first, torch last where it is measured. oracle:
    also the step that is best on the test data. cells: those that are finished, and where others go.
    official: folder of the lists of shots, where the released evaluation of PromptAD is reproduced."""

    data: DataSet
    shots: tuple[int, ...]
    seeds: int
    methods: tuple[str, ...]
    encoder: Encoder
    backends: tuple[Backend, ...]
    backbone: Callable[[], Backbone]
    oracle: bool
    cells: Cells
    official: Path | None = None


class Outcome(msgspec.Struct):
    """What measuring a category came to. cells: digests of those that are finished; shown: by method, of those whose
    scores are drawn; views: uint8 [S,S,3] as bytes, of the photos whose mistakes are shown, by their
    places in the split's test."""

    category: str
    cells: list[str] = []
    shown: dict[str, str] = {}
    manifests: list[Manifest] = []
    remarks: list[str] = []
    views: dict[int, bytes] = {}

    def remark(self, text: str) -> None:
        """Say something once."""
        if text not in self.remarks:
            self.remarks.append(text)
            log.info("%s", text)

    def join(self, other: Outcome) -> None:
        """Take in what measuring further seeds of the category came to."""
        self.cells += other.cells
        self.shown |= other.shown
        self.manifests += other.manifests
        self.remarks += [text for text in other.remarks if text not in self.remarks]
        self.views |= other.views


def measure_category(plan: Plan, category: str, seeds: range) -> Outcome:
    """Measure what is not finished yet of these seeds; methods that learn from no photos belong to seed 0.

    What cannot be done (too few photos, no list of defects) is remarked.
    """
    split = plan.data.split(category)
    found = Outcome(category)
    for line in check_split(split):
        found.remark(line)
    size = plan.encoder.image_size
    photos = OfficialPhotos(size, {sample.path for sample in split.test}) if plan.official else Photos(size)
    wanted = [*plan.backends]
    if wanted[-1].name != TORCH:
        wanted.append(torch_backend(plan.encoder, plan.backbone))
    backends = [Encoded(backend.name, backend.encode, photos) for backend in wanted]
    large = Photos(2 * size)
    measured = _Category(plan, split, photos, large, backends, found)
    try:
        measured.measure(seeds)
    finally:
        photos.close()
        large.close()
        for encoded in (*backends, *(encoded for _, encoded in measured.own.values())):
            encoded.close()
    return found


def torch_backend(encoder: Encoder, backbone: Callable[[], Backbone]) -> Backend:
    """Torch, which opens the backbone when it is first asked."""
    return Backend(TORCH, lambda views: backbone().encode(views), encoder.weights, "fp32")


class _Category:
    def __init__(
        self, plan: Plan, split: Split, photos: Photos, large: Photos, backends: list[Encoded], found: Outcome
    ) -> None:
        """large: at twice the encoder's size; backends: the last is torch, which prompts are learned through; it is
        measured where the plan has it."""
        self._plan, self._split, self._photos, self._found = plan, split, photos, found
        self._large = large
        self._name, self._data = printable(Path(split.category)), split.digest()
        self._backends, self._torch = list(zip(plan.backends, backends, strict=False)), backends[-1]
        self._numbers = {sample: number for number, sample in enumerate(split.test)}
        self.own: dict[Own, tuple[Backend, Encoded]] = {}
        self._truths: dict[Sample, Truth] = {}
        if unmarked := sum(not sample.marked for sample in split.test):
            found.remark(f"{self._name}: {unmarked} bad photos have no mask; pixel metrics are of the others")

    def measure(self, seeds: range) -> None:
        plan = self._plan
        learning = [name for name in plan.methods if METHODS[name].shots]
        untaught = [name for name in plan.methods if not METHODS[name].shots]
        if untaught and 0 in seeds:
            log.info("%s: no shots", self._name)
            self._compare(untaught, None, 0, shown=True)
        draws = []
        for seed in seeds if learning else ():
            for count in plan.shots:
                try:
                    draws.append((self._choose(count, seed), count, seed))
                except SettingsError as error:
                    self._found.remark(f"{self._name}: left out: {error}")
        largest = max((count for _, count, _ in draws), default=0)
        for drawn, count, seed in draws:
            log.info("%s: %d shots, seed %d", self._name, count, seed)
            self._found.manifests.append(Manifest(self._name, count, seed, drawn.digest, drawn.manifest))
            self._compare(learning, drawn, seed, shown=count == largest and seed == 0)
        self._show_mistakes()

    def _choose(self, count: int, seed: int) -> Shots:
        photos: Sequence[Path] = self._split.train
        if self._plan.official:
            photos = read_shots(self._plan.official, self._split.category, photos, count)
        return choose_shots(photos, count, seed)

    def _compare(self, methods: Sequence[str], drawn: Shots | None, seed: int, shown: bool) -> None:
        """All methods on all backends for one draw."""
        paths = () if drawn is None else drawn.paths
        tests = self._split.tests(paths)
        if not tests:
            self._found.remark(f"{self._name}: left out: {len(paths)} shots leave no photo to test with")
            return
        product = Product(
            self._plan.backbone,
            partial(self._torch.features, paths),
            self._split.text,
            self._split.category,
            seed,
            self._plan.oracle,
            "official" if self._plan.official else "clean",
            partial(self._large_shots, len(paths), seed),
        )
        for backend, encoded, names in self._runs(methods):
            own = backend not in self._plan.backends
            if own:
                product = product.through(partial(encoded.features, paths))
            keys = {name: self._key(backend, name, drawn, seed) for name in names}
            missing = [name for name in names if keys[name] not in self._plan.cells]
            if missing:
                lesson = self._lesson(product, backend, encoded, paths or (tests[0].path,), bool(paths))
                for name in missing:
                    self._plan.cells.write(keys[name], self._measure(name, lesson, encoded, tests, drawn, seed))
            for name, key in keys.items():
                finished = self._plan.cells.read(key)
                if finished.cell is None:
                    self._found.remark(f"{self._name}, {name}: left out: {finished.left_out}")
                    continue
                self._found.cells.append(key)
                if shown and (own or backend is self._plan.backends[0]):
                    self._found.shown[name] = key

    def _large_shots(self, count: int, seed: int, together: bool) -> dict[str, tuple[str, Array8]]:
        """Text and shots at twice the encoder's size; of every category that has so many, or of this one."""
        found = {}
        for category in self._plan.data.categories if together else (self._split.category,):
            split = self._plan.data.split(category)
            try:
                found[category] = split.text, self._large.views(choose_shots(split.train, count, seed).paths)
            except SettingsError as error:
                self._found.remark(f"{category}: left out of what is learned together: {error}")
        return found

    @functools.cached_property
    def _all_data(self) -> str:
        """Digest of every category's files."""
        digests = [self._plan.data.split(category).digest() for category in self._plan.data.categories]
        return hashlib.sha256(" ".join(digests).encode()).hexdigest()

    def _runs(self, methods: Sequence[str]) -> list[tuple[Backend, Encoded, list[str]]]:
        """Which methods are measured through what: through the backends, and through encoders of their own."""
        shared = [name for name in methods if METHODS[name].own is None or self._reads(METHODS[name])]
        runs = [(*one, shared) for one in self._backends if shared]
        owned: dict[Own, list[str]] = {}
        for name in methods:
            if (own := METHODS[name].own) is not None and name not in shared:
                owned.setdefault(own, []).append(name)
        for own, names in owned.items():
            try:
                runs.append((*self._open(own), names))
            except SettingsError as error:
                self._found.remark(f"{', '.join(names)}: left out: {error}")
        return runs

    def _reads(self, method: Method) -> bool:
        """Whether the deployed engine's prompted graph reads what a method learns."""
        prompted = self._plan.backends[0].prompted
        if prompted is None or method.conditions is None:
            return False
        try:
            return method.conditions(self._plan.backbone()) == prompted.conditions
        except SettingsError:
            return False

    def _open(self, own: Own) -> tuple[Backend, Encoded]:
        if own not in self.own:
            made = own(self._plan.backbone())
            backend = Backend(made.name, made.encode, made.weights or self._plan.encoder.weights, "fp32")
            self.own[own] = backend, Encoded(made.name, made.encode, self._photos)
        return self.own[own]

    def _key(self, backend: Backend, method: str, drawn: Shots | None, seed: int) -> str:
        shots = len(drawn.paths) if drawn else 0
        listed = drawn.digest if drawn and self._plan.official else ""
        data = f"{self._data} of {self._all_data}" if METHODS[method].together else self._data
        prompted = METHODS[method].conditions and backend.prompted
        return Key(
            data, (prompted or backend).graph, self._plan.encoder, backend.name, backend.precision, method, shots, seed,
            self._plan.oracle, code_digest(), listed,
        ).digest  # fmt: skip

    def _lesson(
        self, product: Product, backend: Backend, encoded: Encoded, paths: Sequence[Path], taught: bool
    ) -> Lesson:
        return Lesson(
            encoded.features(paths), self._photos.views(paths if taught else ()), encoded.encode, product,
            deployed=backend.name != TORCH, prompted=None if backend.prompted is None else backend.prompted.encode,
        )  # fmt: skip

    def _measure(
        self, name: str, lesson: Lesson, encoded: Encoded, tests: Sequence[Sample], drawn: Shots | None, seed: int
    ) -> Finished:
        try:
            judge = METHODS[name].learn(lesson)
        except SettingsError as error:
            return Finished(None, str(error))
        measured, scores, grids = self._judge(judge, encoded, tests)
        if self._plan.oracle:
            measured |= self._best_step(name, lesson, encoded, tests)
        cell = Cell(
            self._name, name, len(lesson.views), seed, encoded.name, measured.values, measured.missing,
            judge.threshold, drawn.digest if drawn else "",
        )  # fmt: skip
        numbers = [self._numbers[sample] for sample in tests]
        worst = find_worst(_bad(tests), scores, grids, numbers)
        return Finished(cell, "", scores.astype(np.float32).tobytes(), tuple(sample.bad for sample in tests), worst)

    def _judge(self, judge: Judge, encoded: Encoded, tests: Sequence[Sample]) -> tuple[Measured, Floats, Floats]:
        """Metrics, image scores [N] and patch scores [N,h,w] of the tests."""
        scores, grids = [], []
        with PixelTally() as tally:
            for start in range(0, len(tests), AT_ONCE):
                some = tests[start : start + AT_ONCE]
                paths = [sample.path for sample in some]
                own = judge.encode
                image, grid = judge.score(encoded.features(paths) if own is None else own(self._photos.views(paths)))
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
        if self._plan.official:
            return official_truth(sample)
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
            measured, _, _ = self._judge(METHODS[name].learn(then), encoded, tests)
            for metric in ("image_auroc", "pixel_auroc"):
                best[f"oracle_{metric}"] = max(best.get(f"oracle_{metric}", 0.0), measured.values[metric])
        return Measured(best)

    def _show_mistakes(self) -> None:
        """Of the first method that has a cell to show."""
        first = next((name for name in self._plan.methods if name in self._found.shown), None)
        if first is None:
            return
        for wrong in self._plan.cells.read(self._found.shown[first]).worst:
            path = self._split.test[wrong.number].path
            self._found.views[wrong.number] = self._photos.views([path])[0].tobytes()


_NOTHING = np.zeros((MAP_SIZE, MAP_SIZE), np.bool_)


def _bad(tests: Sequence[Sample]) -> Flags:
    return np.array([sample.bad for sample in tests], np.bool_)
